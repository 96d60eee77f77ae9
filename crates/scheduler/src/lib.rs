//! Pipeline files to plans, the queue, the dispatcher
