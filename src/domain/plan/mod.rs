//! The planner: (campaign, instant, sets) to a decision, pure.
