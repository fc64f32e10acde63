//! HTTP/1.1 as a hop speaks it: heads are read strictly and written anew, bodies are carried as the bytes they are. One
//! task serves one connection, on one thread, so that a request costs two reads and two writes and little else.

pub mod asked;
pub mod conn;
pub mod exchange;
pub mod framing;
pub mod name;
pub mod pool;
pub mod request;
pub mod response;
pub mod threads;
