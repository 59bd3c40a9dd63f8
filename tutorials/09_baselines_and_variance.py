"""Tutorial 9: baselines and variance, exactly. Sutton & Barto (2nd ed.), section 13.4.

marimo run tutorials/09_baselines_and_variance.py      in a browser, with sliders
python tutorials/09_baselines_and_variance.py          prints the audits of section 5
pytest tutorials/09_baselines_and_variance.py          runs the tests at its end
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Baselines and variance, exactly")

with app.setup:
    import marimo as mo
    import numpy as np
    import torch
    from course import exercise, row, source, table

    from agents import PolicyLoss, SoftmaxPolicy, TabularPreferences, audit
    from agents.losses.advantages import (
        discounted,
        group_mean,
        group_standardised,
        leave_one_out,
        minus,
        reward_to_go,
        whitened,
    )
    from envs import bandit, contextual_bandit, short_corridor, tokens
    from mdp import (
        best_baselines,
        evaluate,
        occupancy,
        policy_gradient,
        reinforce_moments,
        return_variance,
        returns_to_go,
        simulate,
        softmax_policy,
    )
    from mdp.gradient.cumulants import shape
    from mdp.plot import color_of, draw_bars, draw_curves, panels, styled

    LEFT, RIGHT = 0, 1
    ALPHA = 0.1

    torch.set_num_threads(1)  # the tensors here are so small that threads would wait for one another


@app.cell(hide_code=True)
def introduction():
    mo.md(r"""
    # Baselines and variance, exactly

    $$Z(b) = \sum_t \gamma^t\, \big(G_t - b(S_t)\big)\, \nabla\log\pi(A_t|S_t), \qquad
    E[Z(b)] = \nabla J \;\text{ for every } b, \qquad
    \text{Var}[Z(b)] = \text{Var}[Z(0)] - 2\, c\, b + D\, b^2$$

    A baseline $b$ is subtracted from the return. It does not change the mean of the estimate; it changes how far
    estimates scatter, and so how many episodes are needed. On this page these variances are exact numbers. Four
    questions get a number for an answer:

    1. What does a baseline save, and what is the best one? (sections 1 and 2)
    2. Why is $v_\pi$ not the best baseline? (section 3)
    3. If all rewards are positive, do all probabilities rise? (section 4)
    4. Is subtracting the episode's mean return a valid baseline? (section 5)
    """)
    return


@app.function
def preferences(m, x):
    """h(s, left) = 0 and h(s, right) = x, the same in all states."""
    return np.tile([0.0, x], (m.n_states, 1))


@app.function
def right_in_all_states(m):
    """The direction of theta_right in the preferences h(s, a), (SA, 1): it moves h(s, right) of all states."""
    U = np.zeros(m.admissible.shape)
    U[~m.terminal, RIGHT] = 1
    return U.reshape(-1, 1)


@app.function
def moments_of(m, h, **estimator):
    """The exact mean and variance of one episode's estimate of dJ / dtheta_right."""
    moments, U = reinforce_moments(m, h, **estimator), right_in_all_states(m)
    return float(moments.along(U)[0][0]), float(moments.variances(U)[0])


@app.cell
def the_controls():
    difference = r"$\theta_\text{right} - \theta_\text{left}$"
    x_slider = mo.ui.slider(steps=[k / 10 for k in range(-15, 16)], value=0.0, label=difference, show_value=True)
    gamma_slider = mo.ui.slider(steps=[k / 20 for k in range(10, 21)], value=1.0, label=r"$\gamma$", show_value=True)
    b_slider = mo.ui.slider(-40, 10, value=-12, label="constant baseline $b$", show_value=True)
    episodes_slider = mo.ui.slider(steps=[100, 300, 1000, 3000], value=1000, label="episodes", show_value=True)
    redraw = mo.ui.button(value=0, on_click=lambda n: n + 1, label="other episodes")
    shift_slider = mo.ui.slider(-6, 10, value=0, label="added to all rewards", show_value=True)
    group_slider = mo.ui.slider(2, 4, value=2, label="episodes in a group", show_value=True)
    discount_slider = mo.ui.slider(
        steps=[k / 20 for k in range(10, 20)], value=0.9, label=r"$\gamma$ of the language", show_value=True
    )
    return b_slider, discount_slider, episodes_slider, gamma_slider, group_slider, redraw, shift_slider, x_slider


@app.cell
def values_of_the_controls(gamma_slider, x_slider):
    x, gamma = x_slider.value, gamma_slider.value  # one cell for each section: what does not follow is not run again
    return gamma, x


@app.cell
def values_of_the_sample(b_slider, episodes_slider, redraw):
    b, episodes, seed = b_slider.value, episodes_slider.value, redraw.value
    return b, episodes, seed


@app.cell
def value_of_the_shift(shift_slider):
    shift = shift_slider.value
    return (shift,)


@app.cell
def values_of_the_language(discount_slider, group_slider):
    discount, group = discount_slider.value, group_slider.value
    return discount, group


@app.function
def six_estimators(m, h):
    """name: (b, what reinforce_moments is told), from the whole return to the best baseline of the state."""
    pi, U = softmax_policy(m, h), right_in_all_states(m)
    v, _, J = evaluate(m, pi)
    best = best_baselines(m, h, directions=U)
    baselines = {
        "whole return $G_0$": (0.0, False),
        "$G_t$": (0.0, True),
        "$G_t - J$": (J, True),
        r"$G_t - v_\pi(S_t)$": (v, True),
        "best constant": (best.constant, True),
        "best $b(s)$": (best.state, True),
    }
    return {name: (b, {"baseline": b, "to_go": to_go}) for name, (b, to_go) in baselines.items()}


@app.cell
def the_estimators(gamma, x):
    m = short_corridor(gamma)
    h = preferences(m, x)
    estimators = six_estimators(m, h)
    moments = {name: moments_of(m, h, **estimator) for name, (_, estimator) in estimators.items()}
    gradient = float(policy_gradient(m, h)[:, RIGHT].sum())
    return estimators, gradient, h, m, moments


@app.function
def mean_with_a_baseline_of_the_action(m, h, share):
    """The exact mean of the estimate with b(s, a) = v(s) + share (q(s,a) - v(s)): sum of eta pi psi (q - b)."""
    pi = softmax_policy(m, h)
    v, q, _ = evaluate(m, pi)
    psi = np.array([-pi[0, RIGHT], 1 - pi[0, RIGHT]])  # d log pi / d theta_right, for left and for right
    b = v[:, None] + share * (q - v[:, None])
    return float(occupancy(m, pi) @ (pi * psi * (q - b)).sum(1))


@app.cell(hide_code=True)
def show_the_estimators(gamma, gamma_slider, gradient, h, m, moments, x_slider):
    _p = softmax_policy(m, h)[0, RIGHT]
    _best = min(variance for _, variance in moments.values())
    mo.vstack([
        mo.md(r"""
    ## 1. Six estimators, one mean

    The short corridor of tutorial 7 (Example 13.1): every step pays $-1$, all states look the same, and the policy is a
    coin, $p = \pi(\text{right})$. $\nabla$ means $\partial / \partial\theta_\text{right}$ here.
    `reinforce_moments(m, h, baseline=b)` gives the exact mean and variance of the estimate of one episode.
    """),
        row(x_slider, gamma_slider),
        draw_variances(moments),
        table({
            rf"$p = {_p:.3f}$, $\gamma = {gamma:g}$": list(moments),
            "mean": [f"{mean:.10f}" for mean, _ in moments.values()],
            "variance": [variance for _, variance in moments.values()],
            r"episodes for SE = $\vert\nabla J\vert / 10$": [
                int(np.ceil(100 * variance / gradient**2)) for _, variance in moments.values()
            ],
            "times the best": [f"{variance / _best:.3f}" for _, variance in moments.values()],
        }),
        mo.md(rf"""
    All means are $\nabla J$ = {gradient:.10f}: a baseline **cannot bias** the estimate, because, given $S_t$,
    $E[b(S_t)\, \nabla\log\pi(A_t|S_t)] = b(S_t) \sum_a \nabla\pi(a|S_t) = b(S_t)\, \nabla 1 = 0$. It may be anything
    that is known before the action is chosen. It must not depend on the action:
    """),
        table({
            "baseline": ["$v(s)$", r"halfway: $\frac12 (v(s) + q(s,a))$", "$q(s,a)$"],
            "exact mean": [
                f"{round(mean_with_a_baseline_of_the_action(m, h, share), 12) + 0.0:.10f}" for share in (0.0, 0.5, 1.0)
            ],
        }),
        mo.md(r"""
    With $b = q_\pi(S_t, A_t)$ the gradient is gone, and more episodes do not bring it back.

    *Best constant* and *best $b(s)$* make the variance least; `best_baselines` has them in closed form. The agent sees
    one observation only, so the best baseline for each observation is the best constant.
    """),
        source(preferences, right_in_all_states, moments_of, mean_with_a_baseline_of_the_action),
    ])
    return


@app.function
def by_three_points(m, h):
    """(vertex, least variance) of the parabola through three exact variances, at b = -1, 0 and 1."""
    left, middle, right = (moments_of(m, h, baseline=b)[1] for b in (-1.0, 0.0, 1.0))
    D, c = (left + right) / 2 - middle, (left - right) / 4
    return c / D, middle - c**2 / D


@app.function
def estimates(m, h, b, episodes, seed=0):
    """The estimates of dJ / dtheta_right of some episodes, one by one, for each constant in b: (B, episodes)."""
    pi = softmax_policy(m, h)
    played = simulate(m, pi, episodes, rng=np.random.default_rng(seed))
    G = returns_to_go(played.rewards, m.gamma, played.mask)
    psi = np.where(played.mask, (played.actions == RIGHT) - pi[0, RIGHT], 0.0)
    back = m.gamma ** np.arange(psi.shape[1])
    return np.array([(back * (G - constant) * psi).sum(1) for constant in np.atleast_1d(b)])


@app.function
def error_of_a_sample_variance(m, h, b, episodes):
    """The exact standard error of the sample variance of N estimates: sigma^2 sqrt(kurtosis / N + 2 / (N - 1))."""
    U = right_in_all_states(m)
    moments = reinforce_moments(m, h, baseline=b)
    excess, sigma2 = float(shape(moments, U).kurtosis[0]), float(moments.variances(U)[0])
    return sigma2 * np.sqrt(excess / episodes + 2 / (episodes - 1))


@app.cell
def the_parabola(b, estimators, h, m):
    b_best = float(estimators["best constant"][0])
    vertex, least = by_three_points(m, h)
    grid = np.linspace(min(2 * b_best, b) - 1, max(0.0, b) + 1, 9)
    exact_variances = np.array([moments_of(m, h, baseline=at)[1] for at in grid])
    at_b, at_best = (moments_of(m, h, baseline=at)[1] for at in (b, b_best))
    return at_b, at_best, b_best, exact_variances, grid, least, vertex


@app.cell
def the_samples(b, episodes, grid, h, m, seed):
    variances_seen = estimates(m, h, [*grid, b], episodes, seed).var(axis=1, ddof=1)
    errors = np.array([error_of_a_sample_variance(m, h, at, episodes) for at in [*grid, b]])
    return errors, variances_seen


@app.cell(hide_code=True)
def show_the_parabola(
    at_b, at_best, b, b_best, b_slider, episodes, episodes_slider, errors, exact_variances, gamma_slider, grid, least,
    redraw, variances_seen, vertex, x_slider,
):  # fmt: skip
    mo.vstack([
        mo.md(r"""
    ## 2. The variance is a parabola

    $Z(b) = Z(0) - b\,B$ with $B = \sum_t \gamma^t\, \nabla\log\pi(A_t|S_t)$, so the variance is quadratic in a constant
    $b$, with its least value at $b^* = c / D$, where $c = \text{Cov}[Z(0), B]$ and $D = \text{Var}[B]$. Blue is exact.
    Green is the variance of a sample of episodes, the same ones for every $b$, with 2 exact standard errors to each
    side.
    """),
        row(b_slider, x_slider, gamma_slider),
        row(episodes_slider, redraw),
        draw_parabola(grid, exact_variances, variances_seen[:-1], errors[:-1], b, at_b, b_best),
        table({
            f"at $b$ = {b}": ["exact variance", f"variance of {episodes:,} episodes", "exact SE of that", "$z$"],
            "value": [f"{at_b:.6f}", f"{variances_seen[-1]:.6f}", f"{errors[-1]:.6f}",
                      f"{(variances_seen[-1] - at_b) / errors[-1]:.2f}"],
        }),
        mo.md(r"""
    **The check of this page.** `best_baselines` finds $b^*$ from linear systems over the states. The other route asks
    `reinforce_moments` for three variances, at $b = -1, 0, 1$, and puts a parabola through them:
    """),
        table({
            "": ["`best_baselines`", "three points", "difference"],
            "$b^*$": [f"{b_best:.10f}", f"{vertex:.10f}", f"{b_best - vertex:.0e}"],
            "variance there": [f"{at_best:.10f}", f"{least:.10f}", f"{at_best - least:.0e}"],
        }),
        source(by_three_points, estimates, error_of_a_sample_variance),
    ])  # fmt: skip
    return


@app.function
def ratio_of_the_textbooks(m, h):
    """E[psi^2 G_t | s] / E[psi^2 | s], (S,): the best baseline of a problem with a single step."""
    pi = softmax_policy(m, h)
    q, p = evaluate(m, pi).q, pi[0, RIGHT]
    square = pi * np.array([p**2, (1 - p) ** 2])  # pi psi^2
    return np.where(m.terminal, 0.0, (square * q).sum(1) / np.where(m.terminal, 1.0, square.sum(1)))


@app.function
def same_time_terms(m, h, b):
    """sum over t of E[(gamma^t (G_t - b(S_t)) psi_t)^2]: eta_2 pi psi^2 (Var[G|s,a] + (q - b)^2)."""
    pi = softmax_policy(m, h)
    q, p = evaluate(m, pi).q, pi[0, RIGHT]
    var_G = m.gamma**2 * (m.transition @ return_variance(m, pi)).reshape(q.shape)  # rewards are sure
    eta_2 = occupancy(m.with_gamma(m.gamma**2), pi)
    square = pi * np.array([p**2, (1 - p) ** 2])
    return float(eta_2 @ (square * (var_G + (q - np.broadcast_to(b, m.n_states)[:, None]) ** 2)).sum(1))


@app.function
def parts(m, h):
    """name: (b(s), same-time terms, cross-time terms, variance), which is the sum of both less the mean squared."""
    pi, U = softmax_policy(m, h), right_in_all_states(m)
    v, _, J = evaluate(m, pi)
    best = best_baselines(m, h, directions=U)
    baselines = {
        "0": 0.0, "$J$": J, r"$v_\pi(s)$": v, r"$E[\psi^2 G] / E[\psi^2]$": ratio_of_the_textbooks(m, h),
        "best constant": best.constant, "best $b(s)$": best.state,
    }  # fmt: skip
    found = {}
    for name, b in baselines.items():
        mean, variance = moments_of(m, h, baseline=b)
        same = same_time_terms(m, h, b)
        found[name] = np.broadcast_to(b, m.n_states)[:3], same, variance + mean**2 - same, variance
    return found


@app.cell
def the_parts(h, m):
    part_of = parts(m, h)
    return (part_of,)


@app.cell(hide_code=True)
def show_the_parts(gamma_slider, gradient, part_of, x_slider):
    v, ratio, best = (list(part_of.values())[i] for i in (2, 3, 5))
    mo.vstack([
        mo.md(r"""
    ## 3. Why is $v_\pi$ not the best baseline?

    The variance has terms of two kinds. With $X_t = \gamma^t (G_t - b(S_t))\, \psi_t$ and
    $\psi_t = \nabla\log\pi(A_t|S_t)$,

    $$\text{Var}[Z] = \underbrace{\sum_t E[X_t^2]}_{\text{same time}} +
    \underbrace{2 \sum_{t < k} E[X_t X_k]}_{\text{cross time}} - (\nabla J)^2$$

    A textbook argument minimises the first kind, state by state, with $b(s) = E[\psi^2 G|s] / E[\psi^2|s]$. For a fair
    coin this is $v_\pi(s)$. But the steps of one episode share their returns, and the cross-time terms depend on $b$
    as well:
    """),
        row(x_slider, gamma_slider),
        table({
            "$b$": list(part_of),
            "$b(0)$": [f"{b[0]:.4f}" for b, _, _, _ in part_of.values()],
            "$b(1)$": [f"{b[1]:.4f}" for b, _, _, _ in part_of.values()],
            "$b(2)$": [f"{b[2]:.4f}" for b, _, _, _ in part_of.values()],
            "same time": [same for _, same, _, _ in part_of.values()],
            "cross time": [cross for _, _, cross, _ in part_of.values()],
            r"$-(\nabla J)^2$": [-(gradient**2)] * len(part_of),
            "variance": [variance for _, _, _, variance in part_of.values()],
        }),
        mo.md(f"""
    The ratio has the least same-time terms, {ratio[1]:.3f}; the best $b(s)$ has {best[1]:.3f} there and gains more in
    the cross-time terms: {best[2]:.3f} against {ratio[2]:.3f}. In total $v_\\pi$ has variance **{v[3]:.6f}**, the best
    $b(s)$ **{best[3]:.6f}**. The value function is a good baseline and easy to learn. It is not the best one.
    """),
        source(ratio_of_the_textbooks, same_time_terms),
    ])
    return


@app.function
def one_update(m, h, b, alpha=ALPHA):
    """All outcomes of one REINFORCE update on a bandit: probability (K,), arm (K,), the change of pi (K, arms)."""
    (pi, *_), rows = softmax_policy(m, h), []
    for a, arm in enumerate(m.actions):
        for p, _, R in m.outcomes("bandit", arm):
            after = h + alpha * (R - b) * (np.eye(m.n_actions)[a] - pi)
            rows.append((pi[a] * p, a, softmax_policy(m, after)[0] - pi))
    probability, arms, change = zip(*rows, strict=True)
    return np.array(probability), np.array(arms), np.array(change)


@app.function
def rises(m, h, b):
    """For each arm: the mean change of pi(arm) in one update, and how often it rises when the arm was chosen."""
    probability, arms, change = one_update(m, h, b)
    how_often = []
    for a in range(m.n_actions):
        p, up = probability[arms == a], change[arms == a, a] > 0
        how_often.append(p @ up / p.sum())
    return probability @ change, np.array(how_often)


@app.cell
def the_bandit(shift):
    arms = bandit([2.0 + shift, 3.0 + shift, 4.0 + shift])
    h_0 = np.zeros((2, 3))
    J_0 = evaluate(arms, arms.uniform_policy()).objective
    without, with_J = rises(arms, h_0, 0.0), rises(arms, h_0, J_0)
    traces = [reinforce_moments(arms, h_0, baseline=b).trace for b in (0.0, J_0)]
    return J_0, arms, h_0, traces, with_J, without


@app.cell(hide_code=True)
def show_the_bandit(J_0, arms, h_0, shift_slider, traces, with_J, without):
    mo.vstack([
        mo.md(rf"""
    ## 4. If all rewards are positive, do all probabilities rise?

    They cannot: probabilities sum to 1. Three arms with mean rewards 2, 3, 4, each paying 1 more or 1 less by a coin,
    so that all rewards are positive; all preferences are 0. An update is
    $h \leftarrow h + \alpha\, (R - b)\, \nabla\log\pi(A)$ with $\alpha$ = {ALPHA}. All six outcomes of one update
    are listed, with their probabilities:
    """),
        row(shift_slider),
        table({
            "arm": [1, 2, 3],
            "mean reward": arms.expected_reward[0],
            r"$\partial J / \partial h(a)$": policy_gradient(arms, h_0)[0],
            r"mean change of $\pi(a)$, $b = 0$": [f"{x:.8f}" for x in without[0]],
            r"mean change of $\pi(a)$, $b = J$": [f"{x:.8f}" for x in with_J[0]],
            "rises when chosen, $b = 0$": [f"{x:.0%}" for x in without[1]],
            "rises when chosen, $b = J$": [f"{x:.0%}" for x in with_J[1]],
        }),
        mo.md(rf"""
    **In the mean** an arm above $J$ = {J_0:g} gains and an arm below it loses, whatever the sign of the rewards: the
    derivative is $\pi(a)\,(q(a) - J)$, and a constant in $q$ drops out of it. The gain of all arms together is
    {abs(policy_gradient(arms, h_0)[0].sum()):.0e}.

    **In a single update** without a baseline it is as the question fears. The arm that was chosen rises in
    {without[1][0]:.0%}, {without[1][1]:.0%}, {without[1][2]:.0%} of its updates: with positive rewards always, even if
    it is the worst. Good arms win only because they rise further. With $b = J$ a chosen arm rises if $R > J$.

    This costs variance. The sum of the variances of the three preferences is **{traces[0]:.6f}** with $b = 0$ and
    **{traces[1]:.6f}** with $b = J$. With the slider the first changes; the second does not, and the gradient
    does not either.
    """),
        source(one_update, rises),
    ])
    return


@app.function
def own_mean(batch):
    """G_t less the mean of all G_t of the same episode."""
    G = reward_to_go(batch)
    return G - (G.sum(1) / batch.lengths)[:, None]


@app.function
def seven_baselines(v):
    """name: (what stands in front of the score, is it a group?)."""
    return {
        "$0$": (discounted(reward_to_go), False),
        r"$v_\pi(S_t)$": (discounted(minus(reward_to_go, v)), False),
        "mean $G_t$ of the episode": (discounted(own_mean), False),
        "the same, divided by its std": (discounted(whitened(reward_to_go)), False),
        "mean $G_0$ of the others": (leave_one_out, True),
        "mean $G_0$ of all, own included": (group_mean, True),
        "the same, divided by the std": (group_standardised, True),
    }


@app.function
def audits_of_baselines(m, policy, group):
    """Each baseline, judged by all batches: one episode, or one group of episodes with the same prompt."""
    with torch.no_grad():
        v = evaluate(m, policy.matrix(m).numpy()).v
    return {
        name: audit(PolicyLoss(advantage), policy, m, group_size=group if grouped else 1, name=name)
        for name, (advantage, grouped) in seven_baselines(v).items()
    }


@app.cell
def the_language(discount, group):
    writer = SoftmaxPolicy(TabularPreferences(tokens())).double()
    audits = audits_of_baselines(tokens(discount), writer, group)
    at_1 = audit(PolicyLoss(discounted(own_mean)), writer, tokens(1.0))
    if mo.app_meta().mode == "script":
        for found in audits.values():
            print(found)
    return at_1, audits


@app.function
def largest_weight_on_the_bandit():
    """|G_t - mean of G_t| on a problem of one step, over 100 episodes."""
    m = bandit([2.0, 3.0, 4.0])
    played = simulate(m, m.uniform_policy(), 100, rng=np.random.default_rng(0))
    G = returns_to_go(played.rewards, m.gamma, played.mask)
    return float(np.abs(G - G.mean(axis=1, keepdims=True)).max())


@app.cell(hide_code=True)
def show_the_baselines(at_1, audits, discount, discount_slider, group, group_slider):
    _own, _all = (audits[name] for name in ("mean $G_t$ of the episode", "mean $G_0$ of all, own included"))
    mo.vstack([
        mo.md(r"""
    ## 5. Is subtracting the episode's mean return a valid baseline?

    No. The mean of all $G_t$ of an episode holds rewards that were paid *after* $A_t$: it depends on the action. How
    wrong is it? `audit` lists every batch. The problem is a small language, `envs.tokens`: a prompt, at most three
    tokens, an end; the policy chooses tokens uniformly. The last three rows compare the episodes of a group, which
    answer the same prompt.
    """),
        row(discount_slider, group_slider),
        draw_audits(audits),
        table({
            rf"$\gamma = {discount:g}$, subtracted": list(audits),
            "scale": [a.scale for a in audits.values()],
            "cosine": [a.cosine for a in audits.values()],
            "verdict": [a.verdict for a in audits.values()],
        }),
        mo.md(rf"""
    - **The episode's own mean** leaves {_own.scale:.4f} of the gradient, with cosine {_own.cosine:.4f}. A reward that
      is paid at the end, with $\gamma = 1$, makes all $G_t$ of a text equal: then the scale is {at_1.scale:.4f}. Where
      episodes have one step it is $G_0 - G_0$ (largest weight in 100 episodes of the bandit:
      {largest_weight_on_the_bandit():g}), and nothing is learned. To divide by the standard deviation of the episode
      does not help.
    - **The mean of the other episodes** of the group is known without this episode's actions: exact.
    - **The mean of all, own included,** is scaled by {_all.scale:.6f}: with $n$ = {group} episodes this is
      $(n - 1) / n$, because $G - \frac1n \sum G = \frac{{n-1}}{{n}} (G - \text{{mean of the others}})$. A smaller
      step, and nothing else.
    - **Divided by the standard deviation** of the group it is biased again: a group's spread depends on its actions.
    """),
        source(own_mean, seven_baselines, audits_of_baselines),
    ])  # fmt: skip
    return


@app.function
def solution_1(p=0.9):
    """Two arms that surely pay 1 and 0, the first with probability p: (b, variance of one preference) for two b."""
    m = contextual_bandit({"?": {"win": 1.0, "lose": 0.0}})
    h = np.log([[p, 1 - p]] * m.n_states)
    best = best_baselines(m, h).constant
    return [(b, reinforce_moments(m, h, baseline=b).variances(np.eye(4)[:, :1])[0]) for b in (p, best)]


@app.function
def solution_2():
    """(D, c, b*, least variance) from Var[Z(0)] = 733, Var[Z(-12)] = 277 and D = E[T] p (1 - p)."""
    D = 12 * 0.5 * 0.5
    c = (733 + D * 12**2 - 277) / (2 * -12)
    return D, c, c / D, 733 - c**2 / D


@app.function
def solution_3(groups=(2, 3, 4, 6)):
    """n times the variance of the mean of n episodes, all preferences: b = 0, b = J, the mean of the n - 1 others."""
    m = bandit([2.0, 3.0, 4.0])
    policy = SoftmaxPolicy(TabularPreferences(m)).double()
    h, J = np.zeros(m.admissible.shape), evaluate(m, m.uniform_policy()).objective
    found = {f"$b$ = {b:g}": reinforce_moments(m, h, baseline=b).trace for b in (0.0, J)}
    for n in groups:
        batch = audit(PolicyLoss(leave_one_out), policy, m, group_size=n)
        found[f"mean of the others, $n$ = {n}"] = n * batch.covariance_trace
    return found


@app.cell(hide_code=True)
def exercises():
    _v, _best = solution_1()
    _D, _c, _b, _least = solution_2()
    _costs = solution_3()
    mo.vstack([
        mo.md("## 6. Exercises"),
        exercise(
            1,
            r"""*A baseline that leaves no variance.* Two arms surely pay 1 and 0; the policy takes the first with
    probability $p = .9$. What is $v$, what is the best constant $b$, and which variances have they?""",
            r"""$\psi = 1 - p$ for the first arm, $-p$ for the second. With $b$ the estimate is $(1 - b)(1 - p)$ or
    $b\,p$. Both are equal if $b = 1 - p$: the estimate is then always $p\,(1 - p)$, the gradient itself. The value is
    $v = p$. The best baseline is near the *worse* arm's reward when the good arm is likely.""",
            table({
                "": ["$b = v = p$", "best constant"],
                "$b$": [b for b, _ in (_v, _best)],
                "variance": [f"{abs(variance):.10f}" for _, variance in (_v, _best)],
            }),
            source(solution_1),
        ),
        exercise(
            2,
            r"""*The parabola by hand.* On the corridor at $\gamma = 1$, $p = 1/2$ the variance is 733 at $b = 0$ and
    277 at $b = -12$. Show that $D = \text{Var}[B] = E[T]\, p\,(1 - p) = 3$, and find $b^*$ and the least variance.""",
            f"""The scores of different steps are uncorrelated, each has variance $p\\,(1 - p)$, and $E[T] = 12$, so
    $D = {_D:g}$. From $277 = 733 + 24\\, c + 144\\, D$: $c = {_c:g}$, so $b^* = c / D = -37/3$ = {_b:.6f}. The least
    variance is $733 - c^2 / D = 830/3$ = {_least:.6f}.""",
            source(solution_2),
        ),
        exercise(
            3,
            r"""*What the others' mean costs.* It is itself a sample. The bandit of section 4, in groups of $n$
    episodes: how much more variance than with $b = J$ has one episode's share of the gradient?""",
            table({
                "baseline": list(_costs),
                "variance of an episode's share": list(_costs.values()),
            }),
            r"""The excess over $b = J$ is $\frac43 / (n - 1)$ here. With two episodes the variance is already far below
    that of $b = 0$, and nobody had to know $J$.""",
            source(solution_3),
        ),
    ])  # fmt: skip
    return


@app.function
@styled
def draw_variances(moments):
    """A bar for each estimator, with its variance."""
    figure, (axes,) = panels(1, width=10, height=3.4)
    values = {name: variance for name, (_, variance) in moments.items()}
    draw_bars(axes, values, xlabel="exact variance of one episode's estimate")
    for at, variance in enumerate(values.values()):
        axes.text(variance + 0.01 * max(values.values()), at, f"{variance:.5g}", va="center")
    axes.set_xlim(0, 1.12 * max(values.values()))
    return figure


@app.function
@styled
def draw_parabola(grid, exact, seen, errors, b, at_b, b_best):
    """The exact variance over b, that of a sample with 2 exact standard errors, the slider's b and the best."""
    figure, (axes,) = panels(1, width=10, height=4.2)
    fine = np.linspace(grid[0], grid[-1], 101)
    curves = np.polynomial.Polynomial.fit(grid, exact, 2), np.polynomial.Polynomial.fit(grid, seen, 2)
    draw_curves(axes, fine, {"exact": curves[0](fine), "sampled": curves[1](fine)},
                kinds={"exact": "exact", "sampled": "sampled"}, xlabel="constant baseline $b$", ylabel="variance",
                errors={"sampled": np.interp(fine, grid, errors)})  # fmt: skip
    axes.plot(b, at_b, "o", ms=9, color=color_of("exact"), mec="white", label=f"$b$ = {b}", zorder=3)
    axes.axvline(b_best, color=color_of("other"), ls="--", lw=1.3, label=f"best constant: {b_best:.4f}")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper center")
    return figure


@app.function
@styled
def draw_audits(audits):
    """Scale and cosine of every baseline, coloured by verdict."""
    figure, (left, right) = panels(1, 1, width=11.5, height=3.9, sharey=True)
    kinds = {name: found.verdict for name, found in audits.items()}
    draw_bars(left, {k: a.scale for k, a in audits.items()}, kinds=kinds, level=1.0, xlabel="scale (1 is right)")
    draw_bars(right, {k: a.cosine for k, a in audits.items()}, kinds=kinds, level=1.0,
              xlabel=r"cosine with $\nabla J$ (1 is right)")  # fmt: skip
    figure.suptitle("blue: exact, orange: scaled, red: biased", fontsize=11)
    return figure


@app.function
def test_the_variances_of_the_corridor():
    m = short_corridor(1.0)
    h = preferences(m, 0.0)
    found = [moments_of(m, h, **estimator) for _, estimator in six_estimators(m, h).values()]
    assert np.allclose([mean for mean, _ in found], 2.0, rtol=0, atol=1e-9)
    assert np.allclose([variance for _, variance in found], [1959, 733, 277, 295, 830 / 3, 820 / 3], rtol=1e-9, atol=0)


@app.function
def test_the_best_baselines_of_the_corridor():
    m = short_corridor(1.0)
    best = best_baselines(m, preferences(m, 0.0), directions=right_in_all_states(m))
    assert np.allclose(best.state[:3], [-40 / 3, -11, -12], rtol=1e-9, atol=0)
    assert np.allclose(by_three_points(m, preferences(m, 0.0)), [-37 / 3, 830 / 3], rtol=1e-9, atol=0)


@app.function
def test_same_time_and_cross_time():
    m = short_corridor(1.0)
    found = parts(m, preferences(m, 0.0))
    expected = [[597, 140, 733], [285, -4, 277], [263, 36, 295]]
    assert np.allclose([x[1:] for x in found.values()][:3], expected, rtol=0, atol=1e-9)
    values, ratio = list(found.values())[2:4]
    assert np.allclose(values[0], ratio[0], rtol=0, atol=1e-12)  # only for a fair coin
    found = parts(m, preferences(m, -1.0))
    assert min(found.values(), key=lambda x: x[1]) is found[r"$E[\psi^2 G] / E[\psi^2]$"]
    assert min(found.values(), key=lambda x: x[3]) is found["best $b(s)$"]


@app.function
def test_a_baseline_of_the_action_takes_the_gradient_away():
    for gamma, x in ((1.0, 0.0), (0.5, 1.5)):
        m = short_corridor(gamma)
        h = preferences(m, x)
        gradient = policy_gradient(m, h)[:, RIGHT].sum()
        means = [mean_with_a_baseline_of_the_action(m, h, share) for share in (0.0, 0.5, 1.0)]
        assert np.allclose(means, [gradient, gradient / 2, 0.0], rtol=0, atol=1e-9)


@app.function
def test_sample_variances_lie_within_their_exact_errors():
    # 4 statements at 6 standard errors, seed 0; sample variances have heavy tails, hence the large number of episodes
    for gamma, x in ((1.0, 0.0), (0.5, -1.5)):
        m = short_corridor(gamma)
        h = preferences(m, x)
        seen = estimates(m, h, [0.0, -12.0], 20_000).var(axis=1, ddof=1)
        for b, variance in zip((0.0, -12.0), seen, strict=True):
            error = error_of_a_sample_variance(m, h, b, 20_000)
            assert abs(variance - moments_of(m, h, baseline=b)[1]) < 6 * error


@app.function
def test_baselines_of_a_group():
    m = tokens(0.9)
    policy = SoftmaxPolicy(TabularPreferences(m)).double()
    for n in (2, 3):
        found = audits_of_baselines(m, policy, n)
        verdicts = ["exact", "exact", "biased", "biased", "exact", "scaled", "biased"]
        assert [a.verdict for a in found.values()] == verdicts
        assert abs(found["mean $G_0$ of all, own included"].scale - (n - 1) / n) < 1e-12
    assert largest_weight_on_the_bandit() == 0


@app.function
def test_solutions():
    (v, at_v), (b, at_b) = solution_1()
    assert np.allclose([v, b], [0.9, 0.1], rtol=0, atol=1e-12)
    assert np.allclose([at_v, at_b], [0.09 * 0.8**2, 0], rtol=0, atol=1e-12)
    costs = np.array(list(solution_3().values()))
    assert np.allclose(costs, [62 / 9, 8 / 9, *(8 / 9 + 4 / 3 / (n - 1) for n in (2, 3, 4, 6))], rtol=0, atol=1e-9)
    assert np.allclose(solution_2(), [3, -37, -37 / 3, 830 / 3], rtol=0, atol=1e-9)


if __name__ == "__main__":
    app.run()
