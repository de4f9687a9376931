//! Promise 2 on a simulated clock: speculation never costs, and brings nearly what the best fixed budget would.

#![cfg(test)]

use foretoken_benches::simulation::{
    Machine, Policy, Simulation, Skill, World, Yield, in_hindsight, machines,
};
use foretoken_server::engine::budget::Prices;

const STEPS: usize = 600;

/// Steps that the policy gets to know a world in.
const LEARNING: usize = 100;

fn goodput(yields: &[Yield]) -> f64 {
    yields.iter().copied().sum::<Yield>().goodput()
}

#[test]
fn the_policy_never_costs_and_brings_what_the_best_fixed_budget_brings() {
    let bragging = |truth| Skill { truth, claim: 0.95 };
    let modest = |truth| Skill { truth, claim: 0.3 };
    let skills = [0.05, 0.3, 0.6, 0.8, 0.95]
        .into_iter()
        .flat_map(|truth| [Skill::honest(truth), bragging(truth), modest(truth)])
        .chain([bragging(0.0)]);
    for skill in skills {
        for (name, machine) in machines() {
            for num_seqs in [1, 4, 16, 64] {
                let world = World::new(machine.clone(), num_seqs, skill);
                let (best, plain) = in_hindsight(&world);
                let mut simulation =
                    Simulation::new(world, Policy::budget(machine.costs.clone()), 7);
                simulation.run(LEARNING);
                let ours = goodput(&simulation.run(STEPS));
                let case = format!("{name}, {num_seqs} sequences, {skill:?}");
                assert!(
                    ours >= 0.995 * plain,
                    "{case}: {:.4} of plain",
                    ours / plain
                );
                assert!(
                    ours >= 0.95 * best,
                    "{case}: {:.4} of the best",
                    ours / best
                );
            }
        }
    }
}

/// Where a draft costs a tenth of a token and slows the next step down, whoever believes that one is free loses.
#[test]
fn drafts_that_are_dear_are_made_only_where_they_pay() {
    let machine = Machine::cached();
    for truth in [0.0, 0.3, 0.6, 0.95] {
        for num_seqs in [1, 4, 16, 64] {
            let world = World::new(machine.clone(), num_seqs, Skill { truth, claim: 0.95 });
            let (best, plain) = in_hindsight(&world);
            let policy = Policy::budget(machine.costs.clone());
            let mut simulation = Simulation::new(world, policy, 7);
            simulation.run(LEARNING);
            let ours = goodput(&simulation.run(STEPS));
            let [of_plain, of_best] = [ours / plain, ours / best];
            assert!(
                of_plain >= 0.985 && of_best >= 0.9,
                "{num_seqs} sequences, {truth}: {of_plain:.3} of plain, {of_best:.3} of the best"
            );
        }
    }
}

/// What shares the machine may make rows dearer than they were when prices were measured, and cheaper again.
#[test]
fn prices_that_change_are_followed_within_fifty_steps() {
    let told = Prices::new(&[(1, 1e-3), (16, 2e-3), (64, 5e-3)], 2e-9, 2e-8);
    let dear = Prices::new(&[(1, 1e-3), (16, 4e-3), (64, 13e-3)], 6e-9, 2e-8);
    let machine = Machine::new(told.clone());
    for num_seqs in [1, 8] {
        let mut simulation = Simulation::new(
            World::new(machine.clone(), num_seqs, Skill::honest(0.4)),
            Policy::budget(told.clone()),
            3,
        );
        for costs in [&dear, &told, &dear] {
            simulation.world.machine.costs = costs.clone();
            let (best, plain) = in_hindsight(&simulation.world);
            simulation.run(50);
            let after = goodput(&simulation.run(200));
            let [of_best, of_plain] = [after / best, after / plain];
            assert!(
                of_best >= 0.94 && of_plain >= 0.98,
                "{num_seqs}: {of_best:.3} {of_plain:.3}"
            );
        }
    }
}

#[test]
fn a_text_that_changes_is_followed_within_fifty_steps() {
    for (name, machine) in machines() {
        for num_seqs in [1, 8] {
            let mut simulation = Simulation::new(
                World::new(machine.clone(), num_seqs, Skill::COPIES),
                Policy::budget(machine.costs.clone()),
                3,
            );
            simulation.run(LEARNING);
            for skill in [Skill::RANDOM, Skill::COPIES, Skill::RANDOM, Skill::COPIES] {
                simulation.world.skills = vec![skill; num_seqs];
                let (best, plain) = in_hindsight(&simulation.world);
                simulation.run(50);
                let after = goodput(&simulation.run(100));
                assert!(
                    after >= 0.9 * best,
                    "{name}, {skill:?}: {:.3} of the best",
                    after / best
                );
                assert!(
                    after >= 0.99 * plain,
                    "{name}, {skill:?}: {:.3} of plain",
                    after / plain
                );
            }
        }
    }
}

#[test]
fn sequences_that_repeat_themselves_are_drafted_and_those_beside_them_are_not() {
    for (name, machine) in machines() {
        let mut world = World::new(
            machine.clone(),
            16,
            Skill {
                truth: 0.02,
                claim: 0.9,
            },
        );
        world.skills[3] = Skill::honest(0.9);
        let (best, plain) = in_hindsight(&world);
        let mut simulation = Simulation::new(world, Policy::budget(machine.costs), 5);
        simulation.run(LEARNING);
        let ours = goodput(&simulation.run(STEPS));
        assert!(ours >= 0.995 * best, "{name}: {ours} {plain} {best}");
    }
}
