//! (room of script)
