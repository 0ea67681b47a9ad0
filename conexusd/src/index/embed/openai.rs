//! placeholder while the static model is compiled first
use super::*;
