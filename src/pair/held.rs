//! Ops that wait, in the order they must be applied in.

use crate::pair::op::Op;
use crate::pair::position::Position;

#[derive(Debug)]
pub struct Held {
    pub ops: Vec<Op>,
    pub bytes: u64,
    pub oldest: Position,
}

impl Default for Held {
    fn default() -> Self {
        Held { ops: Vec::new(), bytes: 0, oldest: Position::MAX }
    }
}

impl Held {
    pub fn push(&mut self, op: Op) {
        self.oldest = self.oldest.min(op.position);
        self.bytes += op.body.len() as u64;
        self.ops.push(op);
    }
}
