//! The LINE double: as strict as LINE, with faults on demand.
