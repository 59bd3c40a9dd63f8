"""Tutorial 7: the policy gradient theorem, by number. Sutton & Barto (2nd ed.), sections 13.1 to 13.4.

marimo run tutorials/07_policy_gradient_theorem.py      in a browser, with sliders
python tutorials/07_policy_gradient_theorem.py          prints the reports of section 6
pytest tutorials/07_policy_gradient_theorem.py          runs the tests at its end
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="The policy gradient theorem")

with app.setup:
    import marimo as mo
    import numpy as np
    import torch
    from course import exercise, row, source, table
    from scipy.optimize import brentq

    from agents import (
        Batch,
        ReinforceLoss,
        SoftmaxPolicy,
        TabularPreferences,
        episodes_for,
        exact_gradient,
        exact_objective,
        gradient_moments,
        pgcheck,
        rollout,
    )
    from envs import gridworld_4x4, short_corridor
    from mdp import FiniteMDP, evaluate, occupancy, policy_gradient
    from mdp.plot import color_of, draw_curves, draw_estimates, panels, plot_graph, styled

    LEFT, RIGHT = 0, 1
    WITH, WITHOUT = r"with $\gamma^t$", r"without $\gamma^t$"
    REPEATS = 20

    torch.set_num_threads(1)  # the tensors here are so small that threads would wait for one another


@app.cell(hide_code=True)
def introduction():
    mo.md(r"""
    # The policy gradient theorem, by number

    $$\nabla J(\theta) = \sum_s \eta(s) \sum_a \nabla\pi(a|s)\, q_\pi(s,a),
    \qquad \eta(s) = \sum_{t \ge 0} \gamma^t \Pr(S_t = s)$$

    The MDP of this page has three states, so every factor of the sum is a number in a table. REINFORCE estimates the
    sum from episodes; its mean and its standard error are exact numbers too. Three questions get a number for an
    answer:

    1. Why is there no gradient of the state distribution? (section 3)
    2. Is $\gamma^t$ in REINFORCE double discounting, or is it missing? (section 5)
    3. What is the $(1 - \gamma)$ in $d_\pi$? (section 5)

    Notation is that of Sutton & Barto, 2nd edition.
    """)
    return


@app.function
def corridor_policy(x):
    """The softmax policy with theta_left = 0 and theta_right = x, in every state."""
    policy = SoftmaxPolicy(TabularPreferences(short_corridor())).double()
    with torch.no_grad():
        policy.preferences.theta[0, RIGHT] = x  # one row: there is one observation
    return policy


@app.cell(hide_code=True)
def the_corridor():
    _m = short_corridor()
    _pi = _m.uniform_policy()
    mo.vstack([
        mo.md(r"""
    ## 1. The short corridor

    Example 13.1 of the book. An episode starts in state 0 and ends at the goal; every step pays $-1$. In state 1 the
    actions are switched: *right* goes to state 0, and *left* goes to state 2. In state 0, *left* stays there.
    """),
        plot_graph(_m, v=evaluate(_m, _pi).v, policy=_pi, title="the colour is $v$ under a fair coin"),
        mo.md(f"""
    The agent cannot tell the states apart. What it sees in states 0, 1, 2 and at the goal is
    `short_corridor().observations` = {short_corridor().observations.tolist()}. This is *state aliasing*. A policy is
    therefore a coin, the same in every state:
    """),
        mo.md(r"""
    $$\pi(a|s) = \frac{e^{\theta_a}}{e^{\theta_\text{left}} + e^{\theta_\text{right}}},
    \qquad p = \pi(\text{right}|s), \qquad
    \frac{\partial\pi(\text{right}|s)}{\partial\theta_\text{right}} = p\,(1 - p)
    = -\frac{\partial\pi(\text{left}|s)}{\partial\theta_\text{right}}$$

    Only the difference of the two preferences matters. We keep $\theta_\text{left} = 0$, and on this page $\nabla$
    means $\partial / \partial\theta_\text{right}$. (The derivative with respect to $\theta_\text{left}$ is its
    negative.)
    """),
        source(corridor_policy),
    ])
    return


@app.cell
def the_sliders():
    difference = r"$\theta_\text{right} - \theta_\text{left}$"
    x_slider = mo.ui.slider(steps=[k / 10 for k in range(-20, 21)], value=0.0, label=difference, show_value=True)
    gamma_slider = mo.ui.slider(steps=[k / 20 for k in range(10, 21)], value=0.9, label=r"$\gamma$", show_value=True)
    episodes_slider = mo.ui.slider(steps=[10, 30, 100, 300, 1000, 3000], value=1000, label="episodes", show_value=True)
    redraw = mo.ui.button(value=0, on_click=lambda n: n + 1, label="other episodes")
    return episodes_slider, gamma_slider, redraw, x_slider


@app.cell
def values_of_the_controls(episodes_slider, gamma_slider, redraw, x_slider):
    x, gamma, episodes, seed = x_slider.value, gamma_slider.value, episodes_slider.value, redraw.value
    return episodes, gamma, seed, x


@app.cell
def the_problem(gamma, x):
    m = short_corridor(gamma)
    policy = corridor_policy(x)
    p = policy.matrix(m)[0, RIGHT].item()
    return m, p, policy


@app.function
def theorem(m, policy, discount):
    """Every factor of sum_s eta(s) sum_a grad pi(a|s) q_pi(s,a). In the theorem the discount inside eta is m.gamma."""
    pi = policy.matrix(m).detach().numpy()  # pi(a|s)
    v, q, _ = evaluate(m, pi)  # v_pi(s), q_pi(s,a)
    eta = occupancy(m.with_gamma(discount), pi)  # eta(s) = sum_t discount^t Pr(S_t = s)
    p = pi[0, RIGHT]
    grad_pi = p * (1 - p) * np.array([-1.0, 1.0])  # grad pi(left|s), grad pi(right|s)
    inner = q @ grad_pi  # sum_a grad pi(a|s) q_pi(s,a)
    return {"eta": eta, "pi": pi, "q": q, "v": v, "inner": inner, "terms": eta * inner}


@app.cell
def the_theorem(m, policy):
    factors = theorem(m, policy, m.gamma)
    by_theorem = float(factors["terms"].sum())

    J = exact_objective(policy, m)  # start . v with v = (I - gamma P_pi)^-1 r_pi: no eta, no q
    by_autograd = float(torch.autograd.grad(J, policy.preferences.theta)[0][0, RIGHT])
    return J, by_autograd, by_theorem, factors


@app.cell(hide_code=True)
def show_the_theorem(J, by_autograd, by_theorem, factors, gamma, gamma_slider, p, x_slider):
    mo.vstack([
        mo.md(r"""
    ## 2. The theorem, factor by factor

    $J(\theta) = v_\pi(0)$ is the expected return from state 0. Move the sliders: all numbers below follow.
    """),
        row(x_slider, gamma_slider),
        mo.md(rf"$$p = \pi(\text{{right}}|s) = {p:.6f}, \qquad \gamma = {gamma:g}, \qquad J = {J.item():.10f}$$"),
        table({
            "$s$": [0, 1, 2],
            r"$\eta(s)$": factors["eta"][:3],
            r"$\pi(\text{left}\vert s)$": factors["pi"][:3, LEFT],
            r"$\pi(\text{right}\vert s)$": factors["pi"][:3, RIGHT],
            r"$q_\pi(s, \text{left})$": factors["q"][:3, LEFT],
            r"$q_\pi(s, \text{right})$": factors["q"][:3, RIGHT],
            r"$v_\pi(s)$": factors["v"][:3],
            r"$\sum_a \nabla\pi\, q_\pi$": factors["inner"][:3],
            r"$\eta \sum_a \nabla\pi\, q_\pi$": factors["terms"][:3],
        }),
        mo.md(r"""
    The last column adds up to the gradient. Backpropagation through the linear solve of $J$ itself, which uses neither
    $\eta$ nor $q_\pi$, gives the same number.
    """),
        table({
            r"$\partial J / \partial\theta_\text{right}$": ["the theorem's sum", "autograd through $J$", "difference"],
            "value": [f"{by_theorem:.10f}", f"{by_autograd:.10f}", f"{by_theorem - by_autograd:.1e}"],
        }),
        mo.md("The whole computation, each factor on its own line:"),
        source(theorem),
    ])
    return


@app.function
def occupancy_gradient(m, policy):
    """grad eta(s): eta(s) is the J of a problem that pays 1 for each visit to s, and has a gradient like any J."""
    P = m.transition.toarray().reshape(m.n_states, m.n_actions, m.n_states)
    same = {"gamma": m.gamma, "start": m.start, "terminal": m.terminal, "observations": m.observations}
    counters = [FiniteMDP.from_arrays(P, R, **same) for R in np.eye(m.n_states)[~m.terminal]]
    return np.array([float(exact_gradient(policy, counter)[RIGHT]) for counter in counters])


@app.cell
def the_product_rule(factors, m, p, policy):
    grad_eta = occupancy_gradient(m, policy)
    r_pi = (factors["pi"] * m.expected_reward).sum(axis=1)[:3]
    grad_r_pi = p * (1 - p) * (m.expected_reward[:3, RIGHT] - m.expected_reward[:3, LEFT])
    product_rule = grad_eta * r_pi + factors["eta"][:3] * grad_r_pi
    return grad_eta, grad_r_pi, product_rule, r_pi


@app.cell(hide_code=True)
def show_the_product_rule(by_theorem, factors, grad_eta, grad_r_pi, product_rule, r_pi):
    mo.vstack([
        mo.md(r"""
    ## 3. Why is there no gradient of the state distribution?

    The policy decides which states are visited, so $\eta$ depends on $\theta$. With
    $r_\pi(s) = \sum_a \pi(a|s)\, r(s,a)$ we have $J = \sum_s \eta(s)\, r_\pi(s)$, and the product rule gives two
    terms:

    $$\nabla J = \sum_s \big(\underbrace{\nabla\eta(s)\, r_\pi(s)}_{\text{where the agent goes}} +
    \underbrace{\eta(s)\, \nabla r_\pi(s)}_{\text{what it is paid there}}\big)$$

    The theorem has no $\nabla\eta$. Both are right:
    """),
        table({
            "$s$": [0, 1, 2],
            r"$\nabla\eta(s)$": grad_eta,
            r"$r_\pi(s)$": r_pi,
            r"$\eta(s)$": factors["eta"][:3],
            r"$\nabla r_\pi(s)$": grad_r_pi,
            r"product rule: $\nabla\eta\, r_\pi + \eta\, \nabla r_\pi$": product_rule,
            r"theorem: $\eta \sum_a \nabla\pi\, q_\pi$": factors["terms"][:3],
        }),
        mo.md(rf"""
    The product rule adds up to **{product_rule.sum():.10f}**, the theorem to **{by_theorem:.10f}**. State by state the
    terms differ; the totals are the same. On the corridor every step pays the same, so $\nabla r_\pi = 0$ and the
    *whole* gradient comes from $\nabla\eta$. Whoever drops $\nabla\eta$ from the product rule is left with
    {(factors["eta"][:3] * grad_r_pi).sum():g}.
    """),
        mo.md(r"""
    So the theorem does not neglect $\nabla\eta$: it has summed it up already. An action moves the agent to other
    states, and what those states are worth stands in $q_\pi(s,a) = r(s,a) + \gamma \sum_{s'} p(s'|s,a)\, v_\pi(s')$.
    The product rule on $v_\pi(s) = \sum_a \pi(a|s)\, q_\pi(s,a)$ shows how:

    $$\nabla v_\pi(s) = \sum_a \nabla\pi(a|s)\, q_\pi(s,a) +
    \gamma \sum_a \pi(a|s) \sum_{s'} p(s'|s,a)\, \nabla v_\pi(s')$$

    This is a Bellman equation for $\nabla v_\pi$ with $\sum_a \nabla\pi\, q_\pi$ in the place of the reward. Rewards
    are collected $\eta(s)$ times in state $s$: that is the theorem. The same idea gave the column $\nabla\eta$:
    $\eta(s)$ is the $J$ of a problem that pays 1 for each visit to $s$.
    """),
        source(occupancy_gradient),
    ])
    return


@app.function
def sampled_estimates(m, policy, episodes, repeats=REPEATS, seed=0):
    """REINFORCE with and without gamma^t, from the same episodes: `repeats` independent estimates of each."""
    generator = torch.Generator().manual_seed(seed)
    losses = {WITH: ReinforceLoss(), WITHOUT: ReinforceLoss(discounted=False)}
    found = {name: [] for name in losses}
    for _ in range(repeats):
        batch = Batch.of(policy, rollout(policy, m, episodes, generator=generator))
        for name, loss in losses.items():
            gradient = torch.autograd.grad(-loss(batch), policy.preferences.theta, retain_graph=True)[0]
            found[name].append(float(gradient[0, RIGHT]))
    return {name: np.array(values) for name, values in found.items()}


@app.function
def one_episode(m, policy, **estimator):
    """The exact mean and standard deviation of one episode's estimate."""
    moments = gradient_moments(policy, m, **estimator)
    return float(moments.mean[RIGHT]), float(moments.covariance[RIGHT, RIGHT].sqrt())


@app.cell
def the_estimates(episodes, m, policy, seed):
    estimates = sampled_estimates(m, policy, episodes, seed=seed)
    exact = {WITH: one_episode(m, policy), WITHOUT: one_episode(m, policy, discounted=False)}
    mean = {name: mu for name, (mu, _) in exact.items()}
    standard_error = {name: sigma / np.sqrt(episodes) for name, (_, sigma) in exact.items()}
    return estimates, mean, standard_error


@app.cell(hide_code=True)
def show_the_estimates(
    by_theorem, episodes, episodes_slider, estimates, gamma, gamma_slider, mean, redraw, standard_error, x, x_slider
):
    mo.vstack([
        mo.md(rf"""
    ## 4. REINFORCE: the same sum from episodes

    $$\hat g = \frac1N \sum_{{n=1}}^N \sum_t \gamma^t\, G_t\, \nabla\log\pi(A_t|S_t),
      \qquad G_t = R_{{t+1}} + \gamma\, G_{{t+1}}$$

    A visit to $s$ at time $t$ has probability $\Pr(S_t = s)$, and $\gamma^t$ turns it into a share of $\eta(s)$. In
    $s$, the mean of $G_t \nabla\log\pi(A_t|s)$ is $\sum_a \nabla\pi(a|s)\, q_\pi(s,a)$. So $\hat g$ has the mean
    $\nabla J$. Each point on the right is one $\hat g$ from $N$ episodes; there are {REPEATS} of each colour. The
    shaded intervals are not fitted to the points: `gradient_moments` gives the exact mean and variance.
    """),
        row(x_slider, gamma_slider, episodes_slider, redraw),
        draw_estimates_on_their_intervals(gamma, x, estimates, mean, standard_error),
        table({
            rf"$N$ = {episodes:,}": list(estimates),
            "exact mean": list(mean.values()),
            "mean of the points": [g.mean() for g in estimates.values()],
            "exact standard error": list(standard_error.values()),
            "standard deviation of the points": [g.std(ddof=1) for g in estimates.values()],
            "points within 2 standard errors": [
                f"{(np.abs(g - mean[name]) <= 2 * standard_error[name]).sum()} of {REPEATS}"
                for name, g in estimates.items()
            ],
        }),
        mo.md(rf"""
    The green points scatter around $\nabla J$ = {by_theorem:.6f}, the red ones, from the same episodes, around
    {mean[WITHOUT]:.6f}. More episodes narrow both intervals, and move neither. (At $\gamma = 1$ the two are the same
    estimator.) One green standard error is {standard_error[WITH]:.3f}, that is
    {standard_error[WITH] / abs(by_theorem):.2f} $|\nabla J|$. The code:
    """),
        source(sampled_estimates),
        source(one_episode),
    ])
    return


@app.function
def four_discounts(m, policy):
    """(what is summed over t, the discount inside its eta, exact mean, standard deviation of one episode or None)."""
    twice = theorem(m, policy, m.gamma**2)["terms"].sum()
    return [
        (r"$\gamma^t\, G_t \nabla\log\pi$", r"$\gamma$", *one_episode(m, policy)),
        (r"$G_0 \nabla\log\pi$", r"$\gamma$", *one_episode(m, policy, to_go=False)),
        (r"$G_t \nabla\log\pi$", "1", *one_episode(m, policy, discounted=False)),
        (r"$\gamma^t\, G_0 \nabla\log\pi$", r"$\gamma^2$", float(twice), None),
    ]


@app.cell
def the_discounts(m, policy):
    discounts = four_discounts(m, policy)
    at_half = [mu for _, _, mu, _ in four_discounts(short_corridor(0.9), corridor_policy(0.0))]
    return at_half, discounts


@app.cell(hide_code=True)
def show_the_discounts(at_half, discounts, gamma, gamma_slider, p, x_slider):
    mo.vstack([
        mo.md(r"""
    ## 5. Is $\gamma^t$ double discounting, or missing?

    It is not double discounting; where it is left out, it is missing. The reward $R_{t+k+1}$ enters $J$ with
    $\gamma^{t+k}$. $G_t$ holds $\gamma^k$, the discount as seen from time $t$, and the $\gamma^t$ in front is the
    rest of it. In the theorem it stands inside $\eta$. Four estimators, and the discount inside the $\eta$ of their
    mean:
    """),
        row(x_slider, gamma_slider),
        table({
            "": [1, 2, 3, 4],
            "summed over $t$": [row[0] for row in discounts],
            r"inside $\eta$": [row[1] for row in discounts],
            rf"mean at $p = {p:.3f}$, $\gamma = {gamma:g}$": [row[2] for row in discounts],
            "standard deviation of one episode": ["not computed" if row[3] is None else row[3] for row in discounts],
            r"mean at $p = .5$, $\gamma = .9$": [f"{mu:.10f}" for mu in at_half],
        }),
        mo.md(rf"""
    1. The theorem, and REINFORCE as the book has it: $\nabla J$.
    2. The whole return $G_0$ in front of every score is right as well: all of $\gamma^{{t+k}}$ is inside $G_0$ already.
       It carries the rewards before $t$ along, whose contribution has mean 0 (compare the standard deviations).
    3. What many implementations do. At $p = .5$, $\gamma = .9$ this is {at_half[2] / at_half[0]:.3f} times the
       gradient: a visit at time 10 counts as much as one at time 0, while $\gamma^{{10}}$ is {0.9**10:.3f}.
    4. What double discounting would be: $\gamma^t$ in front of $G_0$, which has it already. At $p = .5$,
       $\gamma = .9$ this is {at_half[3] / at_half[0]:.3f} times the gradient.

    Each mean is the theorem's sum with its own discount inside $\eta$: `theorem(m, policy, discount)["terms"].sum()`.
    """),
        source(four_discounts),
    ])
    return


@app.cell(hide_code=True)
def show_the_distribution(by_theorem, factors, gamma):
    eta = factors["eta"][:3]
    d = (1 - gamma) * eta
    mo.vstack([
        mo.md(r"""
    ### What is the $(1 - \gamma)$ in $d_\pi$?

    For $\gamma < 1$ it makes a distribution of $\eta$: $d_\pi(s) = (1 - \gamma)\, \eta(s)$. Its weights
    $(1 - \gamma)\, \gamma^t$ sum to 1 over all $t \ge 0$; the times after the end are spent at the goal.
    """),
        table({
            "$s$": [0, 1, 2, "goal (the rest)", "sum"],
            r"$\eta(s)$": [*eta, "", eta.sum()],
            r"$d_\pi(s) = (1 - \gamma)\, \eta(s)$": [*d, 1 - d.sum(), 1.0],
        }),
        mo.md(r"""
    Written with $d_\pi$, the theorem needs the factor back:
    $\nabla J = \frac{1}{1 - \gamma} \sum_s d_\pi(s) \sum_a \nabla\pi\, q_\pi$.
    """),
        mo.md(
            f"""
    Without it, the sum at the sliders is {(1 - gamma) * by_theorem:.6f} in place of {by_theorem:.6f}: the right
    direction, {1 - gamma:.2f} times the length.
    """
            if gamma < 1
            else r"""
    At $\gamma = 1$ nothing of $d_\pi$ is left on the states where the agent acts, and there is no such factor, while
    $\eta(s)$ is the expected number of visits to $s$. This is why the package uses $\eta$.
    """
        ),
    ])
    return


@app.cell
def the_checks():
    half, ninety = corridor_policy(0.0), short_corridor(0.9)
    right = pgcheck(half, ninety, episodes=10_000, name="corridor, with gamma^t")
    wrong = pgcheck(
        half, ninety, episodes=10_000, loss=ReinforceLoss(discounted=False), name="corridor, without gamma^t"
    )
    enough = episodes_for(half, ninety, 0.05)
    if mo.app_meta().mode == "script":
        print(right)
        print(wrong)
    return enough, right, wrong


@app.cell(hide_code=True)
def show_the_checks(enough, right, wrong):
    mo.vstack([
        mo.md(rf"""
    ## 6. The whole check in one call

    `pgcheck(policy, m)`, here at $p = .5$, $\gamma = .9$. How to read it: the exact routes must agree with the
    theorem to 1e-8, the sampled route must lie within {right.rows[-1].tolerance:.1f} standard errors of it, and SE /
    |grad J| = {right.relative_error:.3f} is the standard error of these {right.episodes:,} episodes in units of the
    gradient: an error that is smaller than this the sample cannot see ({enough:,} episodes would bring it to .05).
    """),
        mo.plain_text(str(right)),
        mo.md(rf"""
    The gradient has two coordinates, $-g$ and $g$, so $|\nabla J| = \sqrt2\, g = {right.norm:.10f}$ with
    $g = {right.norm / np.sqrt(2):.10f}$. The same check for the loss without $\gamma^t$,
    `ReinforceLoss(discounted=False)`: the exact routes do not depend on the loss, and agree as before; the episodes
    find another mean, and the check fails.
    """),
        mo.plain_text(str(wrong)),
    ])
    return


@app.function
def solution_1():
    """dJ/dh(1, a) on the 4 x 4 grid for up, right, down, left: by hand, and by the package."""
    v = -14
    q = np.array([-1 + v, -1 - 20, -1 - 18, -1 + 0])  # up: the wall; right: state 2; down: state 5; left: the end
    eta, pi = 14 / 14, 1 / 4
    by_hand = eta * pi * (q - v)

    m = gridworld_4x4()
    by_package = policy_gradient(m, np.zeros(m.admissible.shape))[m.state_index((0, 1))]
    return by_hand, by_package


@app.function
def stops_at(gamma, discount):
    """(p, J) where theta_right comes to rest: the zero of the theorem's sum with this discount inside eta."""
    m = short_corridor(gamma)
    x = brentq(lambda x: theorem(m, corridor_policy(x), discount)["terms"].sum(), -2, 2, xtol=1e-14)
    policy = corridor_policy(x)
    return policy.matrix(m)[0, RIGHT].item(), exact_objective(policy, m).item()


@app.cell(hide_code=True)
def exercises():
    by_hand, by_package = solution_1()
    p_best, J_best = stops_at(1.0, 1.0)
    p_true, J_true = stops_at(0.9, 0.9)
    p_without, J_without = stops_at(0.9, 1.0)
    mo.vstack([
        mo.md("## 7. Exercises"),
        exercise(
            1,
            r"""*A gradient by hand.* The 4 x 4 grid of Example 4.1: $\gamma = 1$, every step pays $-1$, all preferences
    are 0, every state has its own; an episode starts in any of the 14 states that are not terminal. State 1 lies
    between the terminal corner (left) and state 2 (right), above state 5; from Figure 4.1, $v_\pi(1) = -14$,
    $v_\pi(2) = -20$, $v_\pi(5) = -18$. On this grid $\eta(s) = -v_\pi(s) / 14$. What is
    $\partial J / \partial h(1,a)$ for each action?""",
            r"""$\partial J / \partial h(s,a) = \eta(s)\, \pi(a|s)\, (q_\pi(s,a) - v_\pi(s))$. *Up* bumps and stays,
    *right* leads to state 2, *down* to state 5, *left* to the end. $\eta(1) = 14 / 14 = 1$.""",
            table({"": ["by hand", "`policy_gradient`"]}
                  | {a: [by_hand[i], by_package[i]] for i, a in enumerate(gridworld_4x4().actions)}),
            source(solution_1),
        ),
        exercise(
            2,
            r"""*The best coin.* At $\gamma = 1$ the corridor has $J(p) = -2\,(2 - p) / (p\,(1 - p))$. Which $p$ is
    best? Find it once with pencil and paper, and once as the zero of the theorem's sum.""",
            r"""$J'(p) = 0$ is $p^2 - 4p + 2 = 0$, with the root $p = 2 - \sqrt2$ in $(0, 1)$, and there
    $J = -(6 + 4\sqrt2)$. The zero of the theorem's sum, $\gamma = 1$:""",
            table({
                "": ["closed form", "zero of the sum"],
                "$p$": [f"{2 - np.sqrt(2):.10f}", f"{p_best:.10f}"],
                "$J$": [f"{-(6 + 4 * np.sqrt(2)):.10f}", f"{J_best:.10f}"],
            }),
            source(stops_at),
        ),
        exercise(
            3,
            r"""*Where the wrong gradient stops.* Take $\gamma = .9$. At which $p$ does gradient ascent come to rest,
    with $\gamma^t$ and without? What does the difference cost in $J$?""",
            table({
                r"$\gamma = .9$": [WITH, WITHOUT],
                "stops at $p$": [f"{p_true:.10f}", f"{p_without:.10f}"],
                "$J$ there": [f"{J_true:.10f}", f"{J_without:.10f}"],
                "call": ["`stops_at(0.9, 0.9)`", "`stops_at(0.9, 1.0)`"],
            }),
            f"""Without $\\gamma^t$, ascent passes the best policy and rests {p_without - p_true:.10f} further to the
    right, where $J$ is {J_true - J_without:.10f} lower.""",
        ),
    ])  # fmt: skip
    return


@app.function
@styled
def draw_estimates_on_their_intervals(gamma, x, estimates, mean, standard_error):
    """Left: J and its slope. Right: the estimates on their exact intervals."""
    figure, (left, right) = panels(1, 1.25, width=11.5, height=4.6)
    m, xs = short_corridor(gamma), np.linspace(-2, 2, 41)

    def J(at):
        p = 1 / (1 + np.exp(-at))
        return evaluate(m, np.tile([1 - p, p], (m.n_states, 1))).objective

    Js, J_x = np.array([J(at) for at in xs]), J(x)
    draw_curves(left, xs, {r"$J(\theta)$": Js}, kinds={r"$J(\theta)$": "0.25"})
    for (name, slope), kind in zip(mean.items(), ("exact", "biased"), strict=True):
        ahead = np.copysign(min(0.8, 0.25 * np.ptp(Js) / abs(slope)), slope)  # the arrow points uphill
        back, near, tip = ((x + k * ahead, J_x + k * ahead * slope) for k in (-1, 0.9, 1.02))
        left.axline(back, tip, color=color_of(kind), lw=1.5, label=f"slope {slope:.4f}, {name}")
        left.annotate("", tip, near, arrowprops={"arrowstyle": "-|>", "color": color_of(kind), "mutation_scale": 16})
    left.plot([x], [J_x], "o", color="black", zorder=3)
    room = 0.15 * (Js.max() - Js.min())
    left.set(xlim=(-2.1, 2.1), ylim=(Js.min() - room, Js.max() + 3 * room), ylabel="$J$",
             xlabel=r"$\theta_\mathrm{right} - \theta_\mathrm{left}$", title="exact")  # fmt: skip
    left.legend(loc="lower center")
    draw_estimates(right, estimates, mean=mean, error=standard_error, truth=mean[WITH], kinds={WITHOUT: "biased"},
                   xlabel=r"estimates of $\partial J / \partial\theta_\mathrm{right}$",
                   title="sampled: one point is one estimate")  # fmt: skip
    return figure


@app.function
def test_the_corridors_number():
    m, policy = short_corridor(0.9), corridor_policy(0.0)
    assert abs(theorem(m, policy, 0.9)["terms"].sum() - 0.4862286773) < 1e-9
    assert abs(theorem(m, policy, 1.0)["terms"].sum() - 1.0481736368) < 1e-9
    assert abs(one_episode(m, policy)[0] - 0.4862286773) < 1e-9
    assert abs(one_episode(m, policy, discounted=False)[0] - 1.0481736368) < 1e-9


@app.function
def test_the_sum_is_the_gradient():
    for gamma in (0.5, 0.9, 1.0):
        for x in (-2.0, 0.0, 1.3):
            m, policy = short_corridor(gamma), corridor_policy(x)
            by_autograd = torch.autograd.grad(exact_objective(policy, m), policy.preferences.theta)[0][0, RIGHT]
            by_sum = theorem(m, policy, gamma)["terms"].sum()
            assert abs(by_sum - float(by_autograd)) <= 1e-10 * max(1.0, abs(by_sum))


@app.function
def test_the_gradient_of_the_state_distribution_is_the_whole_gradient_here():
    for gamma in (0.5, 0.9, 1.0):
        m, policy = short_corridor(gamma), corridor_policy(0.7)
        by_sum = theorem(m, policy, gamma)["terms"].sum()
        assert abs((occupancy_gradient(m, policy) * -1.0).sum() - by_sum) <= 1e-10 * max(1.0, abs(by_sum))


@app.function
def test_every_mean_is_the_sum_with_its_own_discount_inside_eta():
    m, policy = short_corridor(0.8), corridor_policy(-0.5)
    means = [mu for _, _, mu, _ in four_discounts(m, policy)]
    sums = [theorem(m, policy, discount)["terms"].sum() for discount in (0.8, 0.8, 1.0, 0.64)]
    assert np.allclose(means, sums, rtol=1e-10, atol=0)


@app.function
def test_the_estimates_lie_within_their_exact_errors():
    # 4 statements at 5.5 standard errors, seed 0: false alarm about 2e-7, were the mean of 40,000 episodes normal
    for gamma, x in ((0.9, 0.0), (0.5, -2.0)):
        m, policy = short_corridor(gamma), corridor_policy(x)
        for name, points in sampled_estimates(m, policy, 1000).items():
            mu, sigma = one_episode(m, policy, discounted=name == WITH)
            assert abs(points.mean() - mu) < 5.5 * sigma / np.sqrt(1000 * len(points))


@app.function
def test_solutions():
    by_hand, by_package = solution_1()
    assert np.allclose(by_hand, [-0.25, -1.75, -1.25, 3.25], rtol=0, atol=0)
    assert np.allclose(by_hand, by_package, rtol=0, atol=1e-10)
    assert np.allclose(stops_at(1.0, 1.0), [2 - np.sqrt(2), -(6 + 4 * np.sqrt(2))], rtol=0, atol=1e-9)
    assert np.allclose(stops_at(0.9, 0.9), [0.5966337909, -6.0453244436], rtol=0, atol=1e-9)
    assert np.allclose(stops_at(0.9, 1.0), [0.6015275191, -6.0455823135], rtol=0, atol=1e-9)


if __name__ == "__main__":
    app.run()
