//! Services and the real Seneca, 0.9.3 and 3.38.0, from npm. `npm ci` in this folder installs them; without it the tests say
//! `SKIPPED`.

mod node;
mod ours;
mod promises;
mod reconnects;
mod relay;
mod themselves;
mod they_call;
mod they_wait;
mod topologies;
mod we_call;
