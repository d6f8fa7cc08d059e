//! The log against naive models.
