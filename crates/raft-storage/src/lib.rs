//! The durable log: storage traits, FileStorage, MemoryStorage and the applier.
