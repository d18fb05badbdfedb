//! Collections whose ops are written in their order: run after run, each one command.

use bson::RawDocument;

use crate::codes;
use crate::error::Result;
use crate::pair::collection::Tracked;
use crate::pair::write::bulk::Writer;
use crate::pair::write::form::Form;
use crate::pair::write::in_order::{
    Next, alone, comes_last, is_as_logged, is_insert, next_in_order, stays,
};
use crate::pair::write::parts::Bulk;
use crate::pair::write::reply::{Refusal, Said};
use crate::pair::write::statement::{Base, CollectionWrites, Statement};

impl Writer {
    /// Run after run. A document may come again: once it is doubtful, what follows of it is
    /// dropped. After one that was refused runs are short for a while: all that follows the
    /// refused one is sent again.
    pub(super) async fn write_in_order(&self, writes: &CollectionWrites) -> Result<()> {
        let collection: &Tracked = &writes.collection;
        let mut left = &writes.statements[..];
        let mut limits = self.limits;
        while !collection.is_dead() && !collection.capped.is_given_up() {
            let done = match next_in_order(collection, left, limits, self.target.forms) {
                None => break,
                Some(Next::Nothing) => 1,
                Some(Next::Unclear(statement)) => {
                    self.ask_source((collection, statement));
                    1
                }
                Some(Next::Delicate(statement))
                    if stays(collection, self.target.forms) && is_insert(statement) =>
                {
                    self.insert_delicate(collection, statement).await?;
                    1
                }
                Some(Next::Delicate(statement)) => {
                    if !self.takes_out(collection, &[statement]).await? {
                        continue;
                    }
                    self.write_delicate((collection, statement)).await?;
                    1
                }
                Some(Next::Run(bulk)) => {
                    if !self.takes_out(collection, &bulk.statements).await? {
                        continue;
                    }
                    let (done, is_whole) = self.write_run(&bulk).await?;
                    limits.statements_max = if is_whole {
                        (2 * limits.statements_max).min(self.limits.statements_max)
                    } else {
                        1
                    };
                    done
                }
            };
            left = &left[done..];
        }
        Ok(())
    }

    /// Removes the documents of those that come last. False if one could not be: it is
    /// doubtful by then.
    async fn takes_out(&self, collection: &Tracked, statements: &[&Statement]) -> Result<bool> {
        let forms = self.target.forms;
        let again = statements
            .iter()
            .filter(|s| comes_last(collection, forms, s));
        let gone: Vec<Statement> = again
            .map(|s| Statement {
                base: Base::Gone,
                ..Statement::unknown(s.id.clone(), s.position)
            })
            .collect();
        if gone.is_empty() {
            return Ok(true);
        }
        let bulk = Bulk {
            collection,
            form: Form::Delete,
            statements: gone.iter().collect(),
        };
        Ok(self.change_or_doubt(&bulk, true).await?.is_none())
    }

    /// Returns how many of its statements are done with, and whether none was refused.
    async fn write_run(&self, bulk: &Bulk<'_>) -> Result<(usize, bool)> {
        let Said { refused, made, .. } = self.send(bulk, true).await?;
        // Ordered: nothing after the refused one was tried.
        let written = refused.last().map_or(bulk.statements.len(), |r| r.index);
        self.expect_as_logged(bulk.collection, &bulk.statements[..written], &made);
        match refused.last() {
            None => Ok((written, true)),
            Some(refusal) => {
                self.refused_in_order(bulk.collection, bulk.statements[written], refusal)
                    .await?;
                Ok((written + 1, false))
            }
        }
    }

    /// To write it over another would take that one out first: it would be the newest then.
    async fn insert_delicate(&self, collection: &Tracked, statement: &Statement) -> Result<()> {
        let ids = std::slice::from_ref(&statement.id);
        match self.target.first_of(collection, ids).await? {
            None => {
                let bulk = alone(collection, self.target.forms, statement);
                self.write_run(&bulk).await?;
            }
            Some(there) if is(&statement.base, &there) => {
                self.expect_as_logged(collection, &[statement], &[]);
            }
            Some(_) => self.give_up(collection, statement),
        }
        Ok(())
    }

    fn expect_as_logged(&self, collection: &Tracked, written: &[&Statement], made: &[usize]) {
        if stays(collection, self.target.forms) && !is_as_logged(collection, written, made) {
            self.give_up(collection, written[0]);
        }
    }

    async fn refused_in_order(
        &self,
        collection: &Tracked,
        statement: &Statement,
        refusal: &Refusal,
    ) -> Result<()> {
        if stays(collection, self.target.forms)
            && is_insert(statement)
            && codes::DOLLAR_NAMES.contains(&refusal.code)
        {
            return self.write_dollars(collection, statement).await;
        }
        self.give_up_or_doubt(collection, statement, refusal)
    }

    /// No update of its source changes a document's length: what is there is of another insert.
    fn give_up_or_doubt(
        &self,
        collection: &Tracked,
        statement: &Statement,
        refusal: &Refusal,
    ) -> Result<()> {
        let comes_again = statement.position <= collection.horizon();
        if comes_again
            && stays(collection, self.target.forms)
            && refusal.code == codes::LENGTH_CHANGED
        {
            self.give_up(collection, statement);
            return Ok(());
        }
        self.doubt(collection, &statement.id, statement.position, refusal)
    }

    /// Names that begin with `$`: only `applyOps` takes them.
    async fn write_dollars(&self, collection: &Tracked, statement: &Statement) -> Result<()> {
        let Base::Full(document) = &statement.base else {
            return Ok(());
        };
        let ids = std::slice::from_ref(&statement.id);
        let is_there = self.target.has_any(collection, ids).await?;
        let replaced = Statement {
            base: Base::Replaced(document.clone()),
            ..Statement::unknown(statement.id.clone(), statement.position)
        };
        let (sent, made): (_, &[usize]) = if is_there {
            (&replaced, &[])
        } else {
            (statement, &[0])
        };
        let said = self.target.apply(collection, &[sent], true).await?;
        match said.refused.last() {
            None => {
                self.expect_as_logged(collection, &[statement], made);
                Ok(())
            }
            Some(refusal) => self.give_up_or_doubt(collection, statement, refusal),
        }
    }

    /// What the target has of the collection is to be emptied and copied anew
    /// (`mend::anew`): what follows is dropped.
    pub(super) fn give_up(&self, collection: &Tracked, statement: &Statement) {
        collection.capped.give_up();
        self.ask_source((collection, statement));
    }
}

fn is(base: &Base, there: &RawDocument) -> bool {
    matches!(base, Base::Full(document) if &document[..] == there.as_bytes())
}
