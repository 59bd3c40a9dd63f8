"""Tutorial 10: what the loss means, and the three gradients of fine-tuning. Sutton & Barto (2nd ed.), 2.8, 5.5, 13.3.

marimo run tutorials/10_what_the_loss_means.py      in a browser, with sliders
python tutorials/10_what_the_loss_means.py          prints two of the audits of section 5
pytest tutorials/10_what_the_loss_means.py          runs the tests at its end
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="What the loss means")

with app.setup:
    import copy
    from functools import partial

    import marimo as mo
    import numpy as np
    import torch
    from course import beside, exercise, row, source, table

    from agents import (
        Batch,
        ExactAscent,
        ReinforceLoss,
        SoftmaxPolicy,
        TabularPreferences,
        audit,
        exact_gradient,
        exact_objective,
        likelihood,
        plain_ascent,
        rollout,
    )
    from agents.losses import named
    from agents.losses.supervised import WithDemonstrations, rest, sft
    from envs import bandit, contextual_bandit, tokens
    from mdp import em_step, enumerate_trajectories, evaluate, return_weighted_visits, softmax_policy, solve
    from mdp.plot import color_of, draw_bars, draw_curves, panels, plot_backup, styled

    UPDATES, EVERY, EPISODES = 40, 2, 100  # of the training in section 2: steps, steps between points, episodes a point
    STEPS = 12  # of the curves in section 4

    torch.set_num_threads(1)  # the tensors here are so small that threads would wait for one another


@app.cell(hide_code=True)
def introduction():
    mo.md(r"""
    # What the loss means, and the three gradients of fine-tuning

    $$J(\theta) = \sum_o P(o) \sum_a \pi_\theta(a|o)\, R(o,a), \qquad
    \nabla J(\theta) \approx \frac1N \sum_{i=1}^N R^i\, \nabla\log\pi_\theta(a^i|o^i), \qquad
    \text{loss} = -\frac1N \sum_{i=1}^N R^i \log\pi_\theta(a^i|o^i)$$

    A prompt $o$ comes from the user, the model $\pi_\theta$ writes an answer $a$, and $R(o,a)$ is its reward: one step,
    then the end. The formula in the middle is a sample of the gradient, the one on the right is what is typed into
    PyTorch to get it. On this page all sums have 12 terms, so what the samples estimate is known exactly.

    1. What does the loss mean, and why does it not fall? (section 2)
    2. What do the gradients of reinforcement learning, of supervised fine-tuning and of self-training have in common?
       (section 3)
    3. Can the same objective be climbed by maximum likelihood? (section 4)
    4. Where does PPO's ratio come from? (section 5)
    5. Expected utility, marginalisation, experimental design: what does each reading give? (section 6)
    """)
    return


@app.function
def policy_at(m, x):
    """The softmax policy with preferences h(o,a) = x R(o,a), a parameter for each prompt and answer."""
    policy = SoftmaxPolicy(TabularPreferences(m)).double()
    with torch.no_grad():
        policy.preferences.theta.copy_(x * torch.tensor(m.expected_reward))
    return policy


@app.cell
def the_controls():
    def of_policies(default, label):
        return mo.ui.slider(steps=[k / 2 for k in range(-4, 13)], value=default, label=label, show_value=True)

    x_slider, y_slider = of_policies(1.0, "$x$, our policy"), of_policies(3.0, "$y$, the demonstrator")
    z_slider = of_policies(0.0, "$z$, who wrote the answers")
    b_slider = mo.ui.slider(steps=[k / 20 for k in range(-10, 21)], value=0.0, label="baseline $b$", show_value=True)
    c_slider = mo.ui.slider(steps=[0.25, 0.5, 0.75, 1.0], value=0.75, label="threshold $c$", show_value=True)
    alpha_slider = mo.ui.slider(steps=[1, 2, 4, 8, 16, 32, 64], value=4, label=r"$\alpha$", show_value=True)
    other_episodes = mo.ui.button(value=0, on_click=lambda n: n + 1, label="other episodes")
    reset = mo.ui.button(value=0, on_click=lambda n: n + 1, label="reset")
    return alpha_slider, b_slider, c_slider, other_episodes, reset, x_slider, y_slider, z_slider


@app.cell
def the_step_button(reset):
    step = mo.ui.button(value=0 * reset.value, on_click=lambda n: n + 1, label="step")  # a reset makes it anew
    return (step,)


@app.cell
def values_of_the_controls(alpha_slider, b_slider, c_slider, other_episodes, step, x_slider, y_slider, z_slider):
    x, y, z = x_slider.value, y_slider.value, z_slider.value
    b, c, alpha = b_slider.value, c_slider.value, alpha_slider.value
    seed, steps = other_episodes.value, step.value
    return alpha, b, c, seed, steps, x, y, z


@app.cell
def the_problem(x):
    m = contextual_bandit()
    policy = policy_at(m, x)
    pi = policy.matrix(m).detach().numpy()  # pi(a|o), (4, 4): three prompts, and the end
    J, gradient = evaluate(m, pi).objective, exact_gradient(policy, m)
    return J, gradient, m, pi, policy


@app.cell(hide_code=True)
def show_the_problem(J, m, pi, x_slider):
    v, q, _ = evaluate(m, pi)
    mo.vstack([
        mo.md(r"""
    ## 1. The one-step objective

    Three prompts, four answers, rewards between 0 and 1 (`envs.contextual_bandit`). Our policy is a table with the
    preferences $h(o,a) = x\, R(o,a)$: at $x = 0$ it writes any answer, at large $x$ nearly always the best one, below 0
    it likes bad answers. Only the *position* is given by $x$. All 12 preferences may move, and a gradient has 12
    coordinates.
    """),
        row(x_slider),
        table({"$o$": m.states[:3], "$P(o)$": m.start[:3]}
              | {f"$R$: {a}": [f"{r:g}" for r in m.expected_reward[:3, k]] for k, a in enumerate(m.actions)}
              | {r"$\sum_a \pi(a\vert o)\, R(o,a)$": v[:3]}),
        mo.md(f"The last column, weighted by $P(o)$: J = **{J:.10f}**. One prompt of the three as a tree:"),
        plot_backup(m, 2, v=v, q=q, policy=pi),
    ])  # fmt: skip
    return


@app.function
def surrogate(b):
    """loss = -(1/N) sum over i of (R^i - b) log pi(a^i|o^i)"""
    return lambda batch: -((batch.rewards - b) * batch.log_probs).sum(1).mean()


@app.function
def moments_of_the_loss(m, pi, b):
    """Mean (differentiable) and standard deviation of one sample's loss -(R - b) log pi(a|o). pi: (..., 3, 4)"""
    P, R = torch.tensor(m.start[:3]), torch.tensor(m.expected_reward[:3])
    p, loss = P[:, None] * pi, -(R - b) * pi.log()
    mean = (p * loss).sum((-2, -1))
    return mean, ((p * loss**2).sum((-2, -1)) - mean**2).sqrt()


@app.function
def training(m, alpha=1.5):
    """The policies of `UPDATES` exact gradient steps from the uniform one, the uniform one first."""
    learner, policies = policy_at(m, 0.0), [policy_at(m, 0.0)]
    ascent = ExactAscent(learner, m, optimizer=plain_ascent(learner, alpha))
    for _ in range(UPDATES):
        ascent.update(None)  # it reads no episodes
        policies.append(copy.deepcopy(learner))
    return policies


@app.function
def logged(m, policies, b, seed):
    """The loss as a log would show it: of EPISODES sampled answers of each policy."""
    generator = torch.Generator().manual_seed(seed)
    return [surrogate(b)(Batch.of(pi, rollout(pi, m, EPISODES, generator=generator))).item() for pi in policies]


@app.cell
def the_training(m):
    policies = training(m)
    pis = torch.stack([policy_k.matrix(m)[:3].detach() for policy_k in policies])  # (41, 3, 4)
    Js = ((pis.numpy() * m.expected_reward[:3]).sum(2)) @ m.start[:3]
    return Js, pis, policies


@app.cell
def the_losses(b, m, pis, policies, seed):
    losses = {b_k: moments_of_the_loss(m, pis, b_k)[0].numpy() for b_k in sorted({0.0, 0.5, 1.0, b})}
    error = moments_of_the_loss(m, pis, b)[1].numpy() / np.sqrt(EPISODES)
    log = logged(m, policies[::EVERY], b, seed)
    return error, log, losses


@app.cell
def two_derivatives(b, gradient, m, policy):
    by_backward = audit(surrogate(b), policy, m)
    mean_loss, _ = moments_of_the_loss(m, policy.matrix(m)[:3], b)
    slope = torch.autograd.grad(-mean_loss, policy.preferences.theta)[0].flatten()
    cosine = float(slope @ gradient / slope.norm() / gradient.norm())
    return by_backward, cosine, slope


@app.cell(hide_code=True)
def show_the_losses(
    Js, b, b_slider, by_backward, cosine, error, gradient, log, losses, other_episodes, slope, x, x_slider
):
    rose = {b_k: int((np.diff(loss) > 0).sum()) for b_k, loss in losses.items()}
    mo.vstack([
        mo.md(rf"""
    ## 2. What does the loss mean, and why does it not fall?

    $$\text{{loss}} = -\frac1N \sum_i (R^i - b) \log\pi_\theta(a^i|o^i), \qquad
    \mathbb E[\nabla\,\text{{loss}}] = -\nabla J \text{{ for every }} b$$

    Its value means nothing; it is a device that makes `backward()` return a sample of $-\nabla J$. Below a model is
    trained from the uniform policy by {UPDATES} exact gradient steps ($\alpha = 1.5$), so that $J$ rises every time. On
    the right is the loss at the same policies: its exact mean, 2 exact standard errors of a batch of {EPISODES}, and
    such batches. Move $b$. The policies do not change.
    """),
        row(b_slider, other_episodes),
        draw_training(Js, losses[b], error, log, b),
        table({
            "$b$": [f"{b_k:g}" for b_k in losses],
            "mean loss, first policy": [loss[0] for loss in losses.values()],
            "mean loss, last policy": [loss[-1] for loss in losses.values()],
            "updates in which it rose": [f"{rose[b_k]} of {UPDATES}" for b_k in losses],
            "updates in which $J$ rose": [f"{int((np.diff(Js) > 0).sum())} of {UPDATES}"] * len(losses),
        }),
        mo.md(rf"""
    $J$ goes from {Js[0]:.4f} to {Js[-1]:.4f}. With $b = 1$ the loss *rises* in {rose[1.0]} of the {UPDATES} updates,
    from {losses[1.0][0]:.4f} to {losses[1.0][-1]:.4f}; with $b = 0$ it rises in the first {rose[0.0]} and falls
    afterwards. One training, two stories. As the policy becomes certain of its answers, $\log\pi \to 0$, and the loss
    goes to 0 from whichever side it was on. So plot the mean reward (a sample of $J$), not the loss.
    """),
        beside(r"-\frac1N \sum_i (R^i - b) \log\pi_\theta(a^i|o^i)", surrogate),
        mo.md(r"""
    ### Why the slope of the value is not the gradient

    The answers $a^i$ were drawn from $\pi_\theta$. `backward()` holds them fixed. In the value of the mean loss they
    move with $\theta$, and its slope has one term more:

    $$-\nabla\, \mathbb E[\text{loss}] = \nabla J + \sum_o P(o) \sum_a \nabla\pi(a|o)\, (R - b) \log\pi(a|o)$$
    """),
        row(x_slider, b_slider),
        table({
            rf"at $x$ = {x:g}, $b$ = {b:g}": [r"mean of $-\nabla$ loss", r"$-\nabla$ of the mean loss"],
            "the answers are": ["held fixed", r"moved with $\theta$"],
            "length": [float(by_backward.expected.norm()), float(slope.norm())],
            r"cosine with $\nabla J$": [by_backward.cosine, cosine],
            r"largest difference from $\nabla J$": [
                f"{float((g - gradient).abs().max()):.1e}" for g in (by_backward.expected, slope)
            ],
        }),
        mo.md(rf"""
    $|\nabla J|$ = {float(gradient.norm()):.6f}. The first row comes from `audit(surrogate(b), policy, m)`, the exact
    mean over all samples of the gradient that an optimiser sees.
    """),
    ])  # fmt: skip
    return


@app.function
def with_rewards(m, R, P=None):
    """The same prompts and answers with other rewards R(o,a), and other P(o) where they are given."""
    rewards = {o: dict(zip(m.actions, map(float, R[s]), strict=True)) for s, o in enumerate(m.states[:-1])}
    return contextual_bandit(rewards, (m.start if P is None else P)[:-1])


@app.function
def three_gradients(m, policy, demonstrator, c):
    """{name: (sampled from, objective, audit against that objective)}"""
    demonstrations = rollout(demonstrator, m, 100, generator=torch.Generator().manual_seed(0))
    good = with_rewards(m, m.expected_reward >= c)

    def success(policy, _):  # Pr(R >= c)
        return exact_objective(policy, good)

    def both(policy, _):
        return exact_objective(policy, good) - sft()(Batch.of(policy, demonstrations))

    imitated, oneself = (partial(likelihood, demonstrator=who) for who in (demonstrator, copy.deepcopy(policy)))
    mixed = WithDemonstrations(rest(c), policy, demonstrations)
    return {
        "policy gradient": ("our policy", "$J$", audit(ReinforceLoss(), policy, m)),
        "SFT": ("the demonstrator", "log-likelihood",
                audit(sft(), policy, m, behaviour=demonstrator, objective=imitated)),
        "self-training: $R \\geq c$": ("our policy", r"$\Pr(R \geq c)$",
                                      audit(rest(c), policy, m, objective=success)),
        "self-training and SFT": ("both", "the sum of the two", audit(mixed, policy, m, objective=both)),
        "imitate every own answer": ("our policy", "log-likelihood", audit(sft(), policy, m, objective=oneself)),
    }  # fmt: skip


@app.cell
def the_gradients(c, gradient, m, policy, y):
    gradients = three_gradients(m, policy, policy_at(m, y), c)
    of_J = {name: found.against(gradient) for name, (_, _, found) in gradients.items()}
    return gradients, of_J


@app.cell(hide_code=True)
def show_the_gradients(c, c_slider, gradients, of_J, x, x_slider, y, y_slider):
    mo.vstack([
        mo.md(r"""
    ## 3. Policy gradient, SFT, self-training

    $$\underbrace{\frac1N \sum_i R^i\, \nabla\log\pi(a^i|o^i)}_{\text{policy gradient, } a^i \sim \pi} \qquad
    \underbrace{\frac1N \sum_i \nabla\log\pi(a^i|o^i)}_{\text{SFT, } a^i \sim \text{demonstrator}} \qquad
    \underbrace{\frac1N \sum_i \mathbf 1(R^i \geq c)\, \nabla\log\pi(a^i|o^i) + \text{SFT}}_{
    \text{self-training (ReST)}}$$

    One form, and two questions: who writes the answers, and with which weight do they count? The demonstrator is
    another policy, $h = y\, R$. Each estimate is exact for an objective of its own, and only one of these is $J$:
    """),
        row(x_slider, y_slider, c_slider),
        table({
            rf"$x$ = {x:g}, $y$ = {y:g}, $c$ = {c:g}": list(gradients),
            "answers of": [who for who, _, _ in gradients.values()],
            "its objective": [what for _, what, _ in gradients.values()],
            "audit against that": [found.verdict for _, _, found in gradients.values()],
            r"cosine with $\nabla J$": [found.cosine for found in of_J.values()],
            r"scale along $\nabla J$": [found.scale for found in of_J.values()],
        }),
        mo.md(rf"""
    - SFT has no reward in it. It goes to wherever the demonstrator is: set $y$ below $x$, and the cosine turns
      negative; imitation then makes the model worse. At $y = x$ its mean is 0.
    - The last row is the same fact: to imitate *all* of one's own answers teaches nothing. The mean of
      $\nabla\log\pi$ is 0 (here {float(gradients["imitate every own answer"][2].expected.norm()):.1e}). What teaches is
      the reward, which marks the homework.
    - Self-training lets the reward select. One step of it is the policy gradient of another reward, 1 for an answer
      with $R \geq c$ and 0 for the rest.
    """),
        source(three_gradients),
    ])
    return


@app.function
def em_path(m, pi, steps):
    """J of pi_0 = pi, pi_1, ...: pi_{k+1}(a|o) = pi_k(a|o) R(o,a) / sum over a' of pi_k(a'|o) R(o,a')."""
    Js = [evaluate(m, pi).objective]
    for _ in range(steps):
        pi = em_step(m, pi)
        Js.append(evaluate(m, pi).objective)
    return np.array(Js)


@app.function
def after_em(m, pi, k):
    """J after k EM steps in closed form: pi_k is proportional to pi R^k."""
    pi, R, P = (x[~m.terminal] for x in (pi, m.expected_reward, m.start))
    return float(P @ ((pi * R ** (k + 1)).sum(1) / (pi * R**k).sum(1)))


@app.function
def ascent_path(m, x, alpha, steps):
    """J of theta_0 = x R, theta_1, ...: theta_{k+1} = theta_k + alpha grad J(theta_k)."""
    learner = policy_at(m, x)
    ascent = ExactAscent(learner, m, optimizer=plain_ascent(learner, alpha))
    return np.array([-ascent.update(None)["loss"] for _ in range(steps + 1)])  # its loss is -J, before the step


@app.cell
def the_paths(alpha, gradient, m, pi, policy, steps, x):
    em, ascent = (f(max(STEPS, steps)) for f in (partial(em_path, m, pi), partial(ascent_path, m, x, alpha)))
    w = torch.as_tensor(return_weighted_visits(m, pi))[:3]
    weighted = (w * policy.matrix(m)[:3].log()).sum()
    e_gradient = torch.autograd.grad(weighted, policy.preferences.theta)[0].flatten()
    off_gradient = float((e_gradient - gradient).abs().max())
    return ascent, em, off_gradient


@app.cell(hide_code=True)
def show_the_paths(alpha, alpha_slider, ascent, em, m, off_gradient, pi, reset, step, steps, x, x_slider):
    closed = after_em(m, pi, steps)
    mo.vstack([
        mo.md(r"""
    ## 4. The same objective by maximum likelihood

    Read $R \in [0, 1]$ as the probability that the user says "good". Then $J = \Pr(\text{good})$ is a likelihood, and
    the answer $a$ is a hidden variable. EM (reward-weighted regression) climbs it without a gradient:

    $$w(o,a) = P(o)\, \pi_k(a|o)\, R(o,a), \qquad
    \pi_{k+1} = \arg\max_\pi \sum_{o,a} w(o,a) \log\pi(a|o)
    \;\Longrightarrow\; \pi_{k+1}(a|o) = \frac{\pi_k(a|o)\, R(o,a)}{\sum_{a'} \pi_k(a'|o)\, R(o,a')}$$

    The E-step weighs the answers by their rewards, the M-step is SFT on the weighted answers. $J$ never falls, and
    there is no step size that could be wrong.
    """),
        row(x_slider, alpha_slider, step, reset),
        draw_paths(em, ascent, alpha, steps, solve(m).v @ m.start),
        table({
            rf"$J$ after $k$ = {steps} steps from $x$ = {x:g}": [
                "`em_step`, $k$ times", r"closed form, $\pi_k \propto \pi_0 R^k$", "difference",
                rf"$k$ gradient steps, $\alpha$ = {alpha:g}",
            ],
            "value": [f"{em[steps]:.10f}", f"{closed:.10f}", f"{em[steps] - closed:.1e}", f"{ascent[steps]:.10f}"],
        }),
        mo.md(rf"""
    In {len(em) - 1} EM steps the smallest change of $J$ is {np.diff(em).min():+.1e}. Is it another gradient? No: at
    $\pi = \pi_k$ the gradient of $\sum w \log\pi$ is $\nabla J$ itself (largest difference: {off_gradient:.1e}). The
    readings differ in how far they go. A gradient step goes $\alpha$ along it, EM goes to the maximum of the weighted
    log-likelihood. A price: answers with $R = 0$ get probability 0 in one step, for ever.
    """),
        source(em_path, after_em),
    ])  # fmt: skip
    return


@app.function
def ratio_loss(batch):
    """-(1/N) sum over i of rho^i R^i, rho = pi(a|o) / mu(a|o). Its mean IS -J, in value and gradient."""
    rho = (batch.log_probs - batch.behaviour_log_probs).exp()
    return -(rho * batch.rewards).sum(1).mean()


@app.function
def ratio_audits(m, policy, mu):
    """Losses on the answers that mu wrote, audited against grad J of the policy."""
    v = evaluate(m, mu.matrix(m).detach().numpy()).v  # PPO's critic, exact
    losses = {
        "no weights: R log pi": named.stale_reinforce(),
        "rho R log pi, rho held fixed": named.off_policy_reinforce(),
        "the ratio itself: rho R": ratio_loss,
        "PPO, clip .2": named.ppo(v, clip=0.2),
    }
    return {name: audit(loss, policy, m, behaviour=mu, name=name) for name, loss in losses.items()}


@app.function
def clipped_surrogate(m, mu, pi, clip):
    """J(mu) + E_mu[min(rho A, clip(rho, 1 - clip, 1 + clip) A)], A = R - v_mu: what PPO climbs."""
    v, _, J = evaluate(m, mu)
    mu, rho, A, P = mu[:3], pi[..., :3, :] / mu[:3], m.expected_reward[:3] - v[:3, None], m.start[:3]
    return J + (mu * np.minimum(rho * A, np.clip(rho, 1 - clip, 1 + clip) * A)).sum(-1) @ P


@app.cell
def the_ratios(m, pi, policy, z):
    author = policy_at(m, z)
    stale, fresh = ratio_audits(m, policy, author), ratio_audits(m, policy, policy)
    mu = author.matrix(m).detach().numpy()
    rho = pi[:3] / mu[:3]
    mean_rho, by_ratio = (m.start[:3] @ (mu[:3] * rho * R).sum(1) for R in (1.0, m.expected_reward[:3]))
    if mo.app_meta().mode == "script":
        print(stale["no weights: R log pi"], stale["the ratio itself: rho R"], sep="\n")
    return by_ratio, fresh, mean_rho, rho, stale


@app.cell(hide_code=True)
def show_the_ratios(J, by_ratio, fresh, m, mean_rho, rho, stale, x, x_slider, z, z_slider):
    mo.vstack([
        mo.md(r"""
    ## 5. Where does PPO's ratio come from?

    From answers that another policy $\mu$ wrote (the book's $b$): yesterday's model, or the one before the last update.
    They have to be weighted,

    $$J(\theta) = \sum_o P(o) \sum_a \mu(a|o)\, \rho_\theta(a|o)\, R(o,a), \qquad
    \rho_\theta(a|o) = \frac{\pi_\theta(a|o)}{\mu(a|o)}, \qquad
    \nabla\rho_\theta = \rho_\theta\, \nabla\log\pi_\theta$$

    so $\mathbb E_\mu[\rho R]$ is $J$, for every $\theta$. And at $\pi_\theta = \mu$ the ratio is 1, so that
    $\nabla\rho = \nabla\log\pi$: the first update is the policy gradient. Below, $\mu$ has the preferences
    $h = z\, R$.
    """),
        row(x_slider, z_slider),
        draw_surrogates(m, x, z),
        table({
            rf"$x$ = {x:g}, $z$ = {z:g}": list(stale),
            r"answers of $\mu$": [found.verdict for found in stale.values()],
            "cosine": [found.cosine for found in stale.values()],
            "scale": [found.scale for found in stale.values()],
            "standard deviation, 1 answer": [np.sqrt(found.covariance_trace) for found in stale.values()],
            r"answers of $\pi$: first update": [found.verdict for found in fresh.values()],
        }),
        mo.md(rf"""
    - At the first update all four are exact: every ratio is 1, nothing is clipped, and $\rho R$ has the gradient of
      $R \log\pi$. PPO's ratio is an importance weight.
    - Off policy, without weights, the loss is biased: it sees how often $\mu$ writes an answer, not how often $\pi$
      does. With weights it is exact. The mean of $\rho$ is {mean_rho:.10f}, $\mathbb E_\mu[\rho R]$ =
      {by_ratio:.10f}, and $J$ = {J:.10f}. The price is variance: $\rho$ goes from {rho.min():.3f} to {rho.max():.3f}.
    - PPO refuses to pay it. An answer whose $\rho$ has left $[1 - .2, 1 + .2]$ on the side to which its advantage
      $A = R - v_\mu$ pushes has no gradient any more. So PPO is biased as soon as it has climbed: its curve touches $J$
      at $z$ and flattens above. Set $z$ above $x$: on the way back nothing is clipped.
    """),
        source(ratio_loss, clipped_surrogate),
    ])
    return


@app.function
def successes(m, pi):
    """Pr(good): the answer a is summed out, over all trajectories of a world that pays 1 with probability R, else 0."""
    return sum(p * m.expected_reward[tau.states[0], tau.actions[0]] for p, tau in enumerate_trajectories(m, pi))


@app.function
def from_good_answers(m, policy):
    """Pr(good) E[grad log pi(a|o) | good], by SFT's own objective: a demonstrator who keeps the good answers alone."""
    pi = policy.matrix(m).detach().numpy()
    v, _, J = evaluate(m, pi)
    posterior = as_policy(m, em_step(m, pi))  # Pr(a | o, good)
    given_good = with_rewards(m, m.expected_reward, m.start * v / J)  # Pr(o | good)
    log_likelihood = likelihood(policy, given_good, demonstrator=posterior)
    return J * torch.autograd.grad(log_likelihood, policy.preferences.theta)[0].flatten()


@app.function
def as_policy(m, mu):
    """The table mu(a|o) as a policy object: h = log mu, which is -inf where mu is 0."""
    policy = SoftmaxPolicy(TabularPreferences(m)).double()
    with torch.no_grad():
        policy.preferences.theta.copy_(torch.as_tensor(np.where(m.terminal[:, None], 1.0, mu)).log())
    return policy


@app.function
def proposals(m, pi):
    """{name: mu(a|o)}: who could write the answers. The last one makes the variance of rho R grad log pi least."""
    R = m.expected_reward
    psi = np.linalg.norm(np.eye(m.n_actions) - pi[:, None, :], axis=2)  # |grad log pi(a|o)|, a table's
    weights = {"uniform": np.ones_like(pi), r"$\pi$: on policy": pi, r"$\pi R$: the good answers": pi * R,
               r"$\pi R\, \Vert\nabla\log\pi\Vert$: the best": pi * R * psi}  # fmt: skip
    totals = {name: np.where(m.terminal[:, None], 1.0, w.sum(1, keepdims=True)) for name, w in weights.items()}
    return {name: w / totals[name] for name, w in weights.items()}


@app.function
def least_variance(m, pi):
    """sum over o of P(o) (sum over a of pi R |grad log pi|)^2 - |grad J|^2"""
    psi = np.linalg.norm(np.eye(m.n_actions) - pi[:, None, :], axis=2)
    gradient = m.start[:, None] * pi * (m.expected_reward - evaluate(m, pi).v[:, None])
    return float(m.start @ (pi * m.expected_reward * psi).sum(1) ** 2 - (gradient**2).sum())


@app.cell
def the_designs(m, pi, policy):
    designs = {
        name: audit(named.off_policy_reinforce(), policy, m, behaviour=as_policy(m, mu))
        for name, mu in proposals(m, pi).items()
    }
    variances = {name: found.covariance_trace for name, found in designs.items()}
    return designs, variances


@app.cell(hide_code=True)
def show_the_readings(J, designs, gradient, m, pi, policy, variances, x_slider):
    good, from_good = successes(m, pi), from_good_answers(m, policy)
    _, on_policy, _, best = variances.values()
    mo.vstack([
        mo.md(r"""
    ## 6. Three readings of one objective

    **Expected utility.** A rational agent averages the reward over what it does not know and maximises over what it can
    choose. **Marginalisation.** In statistics the answer is summed out: what remains is $\Pr(\text{good}|\theta)$, and
    by Bayes' rule $\nabla \Pr(\text{good}) = \Pr(\text{good})\, \mathbb E[\nabla\log\pi(a|o)\,|\,\text{good}]$: the
    policy gradient is SFT on the good answers.
    """),
        row(x_slider),
        table({
            "reading": ["expected utility", "the best that any policy can do", "marginalisation", "difference"],
            "by": ["`evaluate`: $\\sum P \\pi R$", "`solve`", "all trajectories, each good or not", ""],
            "value": [f"{J:.10f}", f"{solve(m).v @ m.start:.10f}", f"{good:.10f}", f"{J - good:.1e}"],
        }),
        mo.md(rf"""
    The gradient, once by the policy gradient theorem and once from good answers alone: the largest difference of the 12
    coordinates is {float((from_good - gradient).abs().max()):.1e}.

    **Experimental design.** The same gradient can be measured with answers from any $\mu$, weighted by $\rho$. Which
    $\mu$ measures it best? The variance of one answer's $\rho R\, \nabla\log\pi$ is known exactly for each:
    """),
        draw_designs(variances),
        table({
            r"$\mu(a\vert o)$": list(variances),
            "verdict": [found.verdict for found in designs.values()],
            "variance, 1 answer": list(variances.values()),
            "answers for the error of 100 on policy": [f"{100 * v / on_policy:.1f}" for v in variances.values()],
        }),
        mo.md(rf"""
    The best is $\mu \propto \pi\, R\, |\nabla\log\pi|$ (Cauchy-Schwarz): write what is likely, pays, *and* would move
    the parameters. Its variance is {best:.10f} by the audit and {least_variance(m, pi):.10f} by the closed form
    $\sum_o P(o) (\sum_a \pi R |\nabla\log\pi|)^2 - |\nabla J|^2$. All four have one mean: the reading changes the
    cost, not the gradient.
    """),
        source(proposals),
    ])  # fmt: skip
    return


@app.function
def solution_1():
    """dJ/dh(o,a) of the uniform policy at the first prompt, for each answer: by hand, and by the package."""
    R = np.array([1, 0, 0, 0.25])
    v = 0.3125  # the mean of R
    by_hand = 0.5 * 0.25 * (R - v)  # P(o) pi(a|o) (R(o,a) - v(o))
    m = contextual_bandit()
    return by_hand, exact_gradient(policy_at(m, 0.0), m)[:4].numpy()


@app.function
def solution_2(constant, steps=5):
    """J of the ten-armed bandit after some EM steps from the uniform policy, rewards + constant; J without it."""
    m = bandit(bandit().expected_reward[0] + constant)
    return em_path(m, m.uniform_policy(), steps)[-1] - constant


@app.function
def refusal():
    """What EM says to rewards below 0."""
    try:
        em_step(bandit(), bandit().uniform_policy())
    except ValueError as error:
        return f"> {error}"


@app.function
def solution_3(level):
    """REINFORCE on another policy's texts of up to three tokens, with a ratio for each token, or for the text."""
    m = tokens(0.9)
    policy, behaviour = (SoftmaxPolicy(TabularPreferences(m)).double() for _ in range(2))
    with torch.no_grad():
        behaviour.preferences.theta[:, 2] = 1.0  # it likes to end
    return audit(named.off_policy_reinforce(level), policy, m, behaviour=behaviour)


@app.cell(hide_code=True)
def exercises():
    by_hand, by_package = solution_1()
    levels = {level: solution_3(level) for level in ("sequence", "token")}
    mo.vstack([
        mo.md("## 7. Exercises"),
        exercise(
            1,
            r"""*A gradient by hand.* At $x = 0$ every answer has probability 1/4. What is
    $\partial J / \partial h(o,a)$ for the prompt "2 + 2 =" and each of the four answers?""",
            r"""$\partial J / \partial h(o,a) = P(o)\, \pi(a|o)\, (R(o,a) - v(o))$, with $v(o) = (1 + 0 + 0 + 1/4) / 4$.
    All rewards are 0 or more, and yet answers below the mean lose probability:""",
            table({"": ["by hand", "`exact_gradient`"]}
                  | {a: [by_hand[k], by_package[k]] for k, a in enumerate(contextual_bandit().actions)}),
            source(solution_1),
        ),
        exercise(
            2,
            r"""*A constant in the reward.* The ten-armed bandit (`envs.bandit`) has rewards below 0. What does EM say?
    Add a constant that is large enough, and a larger one. What happens to EM, and what to the gradient?""",
            refusal(),
            table({
                "constant": ["2.5", "10", "100"],
                "$J$ (without it) after 5 EM steps": [solution_2(k) for k in (2.5, 10, 100)],
            }),
            r"""$\pi_k \propto \pi_0\, (R + \text{constant})^k$ goes flat: EM still never falls, but it slows down. The
    gradient does not change at all, since the constant has the mean score 0; its samples get noisier.""",
            source(solution_2),
        ),
        exercise(
            3,
            r"""*Ratios of tokens.* In a text of several tokens PPO has one ratio for each token. On `tokens(0.9)`, with
    an author who likes to end early: is REINFORCE with token ratios exact? With one ratio for the whole text?""",
            table({
                "ratio": list(levels),
                "verdict": [found.verdict for found in levels.values()],
                "cosine": [found.cosine for found in levels.values()],
                "scale": [found.scale for found in levels.values()],
            }),
            r"""The ratio of the text is the product over its tokens: the right weight, and exact. A token's own ratio
    corrects that one choice. That the behaviour reaches other prefixes, and ends them otherwise, stays uncorrected.""",
            source(solution_3),
        ),
    ])  # fmt: skip
    return


@app.function
@styled
def draw_training(Js, loss, error, log, b):
    """J on the left; on the right the mean loss, its band, and batches."""
    figure, (left, right) = panels(1, 1.2, width=11, height=3.9)
    k = np.arange(len(Js))
    draw_curves(left, k, {"$J$": Js}, kinds={"$J$": "exact"}, xlabel="update", ylabel="$J$", title="exact objective")
    draw_curves(right, k, {"mean loss, 2 SE of a batch": loss}, kinds={"mean loss, 2 SE of a batch": "exact"},
                errors={"mean loss, 2 SE of a batch": error}, xlabel="update", ylabel="loss",
                title=f"loss with b = {b:g}")  # fmt: skip
    right.plot(k[::EVERY], log, "o", color=color_of("sampled"), label=f"loss of {EPISODES} answers")
    right.axhline(0, color=color_of("other"), lw=1)
    right.legend()
    return figure


@app.function
@styled
def draw_paths(em, ascent, alpha, k, best):
    """J after each step of EM and of gradient ascent."""
    figure, (axes,) = panels(1, width=8.5, height=3.4)
    names = ("EM", rf"gradient steps, $\alpha$ = {alpha:g}")
    draw_curves(axes, np.arange(len(em)), dict(zip(names, (em, ascent), strict=True)), levels={"best $J$": best},
                kinds={names[0]: "exact", names[1]: "#CC79A7"}, marker="o",
                xlabel="step $k$", ylabel="$J$")  # fmt: skip
    axes.axvline(k, color="black", ls=":", lw=1.5)
    return figure


@app.function
@styled
def draw_surrogates(m, x, z):
    """J along the line h = x R, and what answers of the policy at z say of it."""
    figure, (axes,) = panels(1, width=8.5, height=3.6)
    R, xs = m.expected_reward, np.linspace(-2, 6, 65)
    mu, pis = softmax_policy(m, z * R), np.array([softmax_policy(m, at * R) for at in xs])
    J, clipped = (clipped_surrogate(m, mu, pis, clip) for clip in (np.inf, 0.2))
    names = (r"$J(\theta) = \mathbb{E}_\mu[\rho R]$", "what PPO climbs, clip .2")
    draw_curves(axes, xs, dict(zip(names, (J, clipped), strict=True)), kinds={names[0]: "exact", names[1]: "biased"},
                xlabel="our policy, $x$", ylabel="$J$")  # fmt: skip
    for at, name, marker in ((z, rf"$\mu$: z = {z:g}", "s"), (x, f"our policy: x = {x:g}", "o")):
        axes.plot(at, evaluate(m, softmax_policy(m, at * R)).objective, marker, color="black", label=name, zorder=3)
    axes.legend(loc="lower right")
    return figure


@app.function
@styled
def draw_designs(variances):
    """A bar for each proposal."""
    figure, (axes,) = panels(1, width=8.5, height=2.3)
    draw_bars(axes, variances, xlabel="exact variance of one answer's gradient (sum over 12 coordinates)")
    return figure


@app.function
def test_the_value_of_the_loss_and_its_gradient():
    m = contextual_bandit()
    uniform = policy_at(m, 0.0)
    assert abs(exact_objective(uniform, m).item() - 0.325) < 1e-12
    for b in (-0.5, 0.0, 1.0):
        mean, _ = moments_of_the_loss(m, uniform.matrix(m)[:3], b)
        assert abs(mean.item() - (0.325 - b) * np.log(4)) < 1e-12
        assert audit(surrogate(b), policy_at(m, 1.0), m).relative_error < 1e-12


@app.function
def test_the_loss_rises_while_J_rises():
    m = contextual_bandit()
    policies = training(m)
    pis = torch.stack([policy.matrix(m)[:3].detach() for policy in policies])
    assert (np.diff([exact_objective(policy, m).item() for policy in policies]) > 0).all()
    assert (np.diff(moments_of_the_loss(m, pis, 1.0)[0].numpy()) > 0).all()


@app.function
def test_em_is_its_closed_form_and_never_falls():
    m = contextual_bandit()
    for x in (-2.0, 1.0, 6.0):
        pi = softmax_policy(m, x * m.expected_reward)
        path = em_path(m, pi, 8)
        assert np.allclose(path, [after_em(m, pi, k) for k in range(9)], rtol=0, atol=1e-12)
        assert (np.diff(path) > -1e-15).all()


@app.function
def test_ratios_are_exact_on_policy_and_weights_off_policy():
    m = contextual_bandit()
    policy, mu = policy_at(m, 1.0), policy_at(m, 0.0)
    assert [found.verdict for found in ratio_audits(m, policy, policy).values()] == ["exact"] * 4
    assert [found.verdict for found in ratio_audits(m, policy, mu).values()] == ["biased", "exact", "exact", "biased"]
    assert ratio_audits(m, mu, policy)["PPO, clip .2"].verdict == "exact"  # on the way back nothing is clipped


@app.function
def test_the_best_proposal_has_the_least_variance():
    m = contextual_bandit()
    policy = policy_at(m, 1.0)
    pi = policy.matrix(m).detach().numpy()
    *_, best = proposals(m, pi).values()
    found = audit(named.off_policy_reinforce(), policy, m, behaviour=as_policy(m, best))
    assert found.verdict == "exact"
    assert abs(found.covariance_trace - least_variance(m, pi)) < 1e-12
    assert float((from_good_answers(m, policy) - exact_gradient(policy, m)).abs().max()) < 1e-12


@app.function
def test_solutions():
    by_hand, by_package = solution_1()
    assert np.allclose(by_hand, [0.0859375, -0.0390625, -0.0390625, -0.0078125], rtol=0, atol=0)
    assert np.allclose(by_hand, by_package, rtol=0, atol=1e-12)
    m = bandit()
    R = m.expected_reward[0] + 10
    assert abs(solution_2(10) - ((R**6).sum() / (R**5).sum() - 10)) < 1e-9
    assert solution_2(2.5) > solution_2(10) > solution_2(100) > 0.025
    assert [solution_3(level).verdict for level in ("sequence", "token")] == ["exact", "biased"]


if __name__ == "__main__":
    app.run()
