//! Admin commands: public ones through the router, `createIndexes` and the
//! like straight to a shard. Each is one call with one answer.
