//! (room of journal)
