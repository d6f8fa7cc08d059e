//! The guest of production in a simulated world; here the runner of golden scripts.
