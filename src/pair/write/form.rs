//! How a statement is sent to a target, so that it does there exactly what the oplog says
//! (R3, R9).
//!
//! | statement | 6.0 | 5.0 | 4.2, 4.4 |
//! |-----------|-----|-----|----------|
//! | delete | delete | delete | delete |
//! | `$set` of plain values | update | update | update |
//! | deltas | update by stages | `applyOps` | `applyOps` |
//! | deltas of the old form | `applyOps` | `applyOps` | `applyOps` |
//! | a document over another | update | update | `applyOps`, for names that begin with `$` |
//!
//! Pure.

use crate::bson::locate;
use crate::cluster::dialect::WriteForms;
use crate::pair::write::overlay::{is_old, set_alike};
use crate::pair::write::statement::{Base, Statement};

/// How a statement is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Delete,
    Update,
    /// By `applyOps`, as the server itself would log it.
    Ops,
}

impl Statement {
    /// The form that changes a document on a target of these `forms` exactly as the oplog
    /// does.
    pub fn form(&self, forms: WriteForms) -> Form {
        if self.base == Base::Gone {
            return Form::Delete;
        }
        let by_ops = match &self.deltas[..] {
            [] => self.is_whole() && !forms.dollar_names && !self.has_zero_timestamp(),
            deltas if forms.delta_stage && !deltas.iter().any(|delta| is_old(delta)) => false,
            [delta] => self.base != Base::Unknown || set_alike(delta).is_none(),
            _ => true,
        };
        if by_ops { Form::Ops } else { Form::Update }
    }

    /// `applyOps` would put the current time in its place.
    fn has_zero_timestamp(&self) -> bool {
        match &self.base {
            Base::Full(document) | Base::Replaced(document) => {
                self.needs_literal && locate::has_zero_timestamp(document)
            }
            Base::Unknown | Base::Gone | Base::Unclear => false,
        }
    }

    /// Neither one update nor `applyOps` keeps all bytes of it.
    pub fn takes_two_commands(&self, forms: WriteForms) -> bool {
        // Hardly ever: looked at first.
        self.needs_literal
            && !self.deltas.is_empty()
            && self.form(forms) == Form::Ops
            && self.has_zero_timestamp()
    }
}
