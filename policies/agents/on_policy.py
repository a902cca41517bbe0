"""PPO and A2C of Stable-Baselines3 with our network."""

# ruff: noqa: ANN401 - Stable-Baselines3 has no types
from __future__ import annotations

from typing import Any

from stable_baselines3 import A2C, PPO

from policies.agents.group_policy import GroupPolicy
from policies.agents.repeat import repeatable
from policies.agents.sb3 import Sb3Learner
from policies.agents.settings import A2c, Ppo
from policies.agents.vector import EpisodesVecEnv
from policies.env.episodes import World

LEAST_RATE = 0.05
"""Of the learning rate, at the end: it goes down in a line."""


def network_of(settings: Ppo | A2c) -> dict[str, Any]:
    """What `GroupPolicy` takes."""
    return {
        "width": settings.width,
        "layers": settings.layers,
        "centred": settings.centred,
        "deviation": settings.deviation,
    }


def updates(settings: Ppo, world: World) -> dict[str, Any]:
    """How PPO learns, whatever the policy: a rollout is an episode of all slots."""
    return {
        "n_steps": world.steps,
        "batch_size": settings.batch,
        "n_epochs": settings.epochs,
        "gamma": settings.discount,
        "gae_lambda": settings.gae_lambda,
        "clip_range": settings.clip,
        "learning_rate": lambda left: settings.learning_rate * max(left, LEAST_RATE),
        "ent_coef": settings.entropy,
        "target_kl": settings.target_kl,
    }


class OnPolicy(Sb3Learner):
    """A learner of theirs around our actor."""

    def __init__(self, model: Any) -> None:
        super().__init__(model, lambda model: model.policy.actor)

    def begin(self, actor: Any) -> None:
        """Be as this actor; the critic knows nothing yet."""
        self.model.policy.actor.load_state_dict(actor.state_dict())


def ppo(settings: Ppo, world: World, seed: int) -> OnPolicy:
    """Proximal policy optimisation."""
    repeatable(seed)
    episodes = world.episodes(settings.slots, seed, settings.copies)
    model = PPO(
        GroupPolicy,
        EpisodesVecEnv(episodes, settings.copies),
        policy_kwargs=network_of(settings),
        seed=seed,
        device=settings.device,
        **updates(settings, world),
    )
    episodes.seed(seed)
    return OnPolicy(model)


def a2c(settings: A2c, world: World, seed: int) -> OnPolicy:
    """Advantage actor-critic."""
    repeatable(seed)
    episodes = world.episodes(settings.slots, seed, settings.copies)
    model = A2C(
        GroupPolicy,
        EpisodesVecEnv(episodes, settings.copies),
        n_steps=settings.every,
        gamma=settings.discount,
        gae_lambda=settings.gae_lambda,
        learning_rate=lambda left: settings.learning_rate * max(left, LEAST_RATE),
        ent_coef=settings.entropy,
        normalize_advantage=True,
        policy_kwargs=network_of(settings),
        seed=seed,
        device=settings.device,
    )
    episodes.seed(seed)
    return OnPolicy(model)
