//! What the tests of the rules and the fuzz targets share.

pub(crate) mod frame;
pub(crate) mod model;
pub(crate) mod script;
pub(crate) mod stage;
pub(crate) mod wire;
