//! Pages of Wharf.
