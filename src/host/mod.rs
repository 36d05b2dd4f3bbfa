//! (room of host)
