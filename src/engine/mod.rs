//! The owner of one account: inbox, due, plan, freeze, folds.
