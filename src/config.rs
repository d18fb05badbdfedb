//! Every knob: unit, default, bounds; raw → resolved, once.
