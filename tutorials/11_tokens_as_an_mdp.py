"""Tutorial 11: text as an MDP, and the losses that language models are trained with. Beyond Sutton & Barto, chapter 13.

marimo run tutorials/11_tokens_as_an_mdp.py      in a browser, with sliders
python tutorials/11_tokens_as_an_mdp.py          prints the check of the transformer
pytest tutorials/11_tokens_as_an_mdp.py          runs the tests at its end
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Tokens as an MDP")

with app.setup:
    import copy
    from importlib.util import find_spec

    import marimo as mo
    import numpy as np
    import torch
    from course import beside, exercise, row, source, table

    from agents import (
        LanguageModelPolicy,
        PolicyLoss,
        Reinforce,
        ReinforceLoss,
        SoftmaxPolicy,
        TabularPreferences,
        audit,
        exact_gradient,
        exact_objective,
        load_model,
        load_tokenizer,
        pgcheck,
        plain_ascent,
        random_model,
        rollout,
    )
    from agents.losses import named
    from agents.losses.advantages import group_mean, group_standardised
    from agents.losses.aggregation import episode_mean
    from envs import TokenMDP, token_brackets
    from mdp import FiniteMDP, enumerate_trajectories, evaluate
    from mdp.plot import color_of, draw_bars, draw_curves, panels, plot_graph, styled

    VOCABULARY, HORIZON = "ab.", 3
    A, B, END = 0, 1, 2  # token ids
    UPDATES, GROUPS, N = 40, 8, 4  # of the training in section 4: steps, groups of a batch, answers of a group

    torch.set_num_threads(1)  # the tensors here are so small that threads would wait for one another


@app.cell(hide_code=True)
def introduction():
    mo.md(r"""
    # Tokens as an MDP

    $$\pi_\theta(y|o) = \prod_{t=0}^{T-1} \pi_\theta(a_t|o, a_0 \dots a_{t-1}), \qquad
    \nabla J = \mathbb E\Big[\underbrace{\sum_t \gamma^t\, G_t\, \nabla\log\pi_\theta(a_t|s_t)}_{\text{tokens}}\Big]
    = \mathbb E\Big[\underbrace{\gamma^{T-1} R(o,y)\, \nabla\log\pi_\theta(y|o)}_{\text{the whole answer}}\Big]$$

    A language model writes an answer $y$ to a prompt $o$, token by token. A state is the prompt and what was written so
    far, an action is the next token, and the reward comes with the last one. On this page the vocabulary has three
    tokens, so that all answers can be listed, and every mean is exact. Three questions get a number for an answer:

    1. Token MDP or bandit, for a language model? (section 2)
    2. Divide by the group's standard deviation? What is the length bias? (section 3)
    3. Why does a GRPO loss start at 0 and rise? (section 4)

    The last sections run the same code on a transformer with random weights, and on SmolLM2.
    """)
    return


@app.function
def reward(prompt, y):
    """For the tokens of an answer y."""
    again, ends = y.count(prompt[0]), y[-1] == END
    return again / 2 + ends - 0.2 * len(y)


@app.function
def problem(gamma, reward=reward, prompts=((A,), (B,)), horizon=HORIZON):
    """Answers of at most three tokens to the prompts "a" and "b"."""
    return TokenMDP(VOCABULARY, horizon, reward, prompts=prompts, eos=".", gamma=gamma)


@app.function
def policy_at(m, x):
    """A table with a row for each prefix: it likes "a" (h = 1), and "." with h = x."""
    policy = SoftmaxPolicy(TabularPreferences(m)).double()
    with torch.no_grad():
        policy.preferences.theta[:, A] = 1.0
        policy.preferences.theta[:, END] = x
    return policy


@app.function
def readable(m):
    """The same MDP with texts for labels, "prompt:answer so far"."""
    texts = [":".join("".join(VOCABULARY[k] for k in ids) for ids in s) for s in m.states[:-1]]
    P = m.transition.toarray().reshape(m.n_states, m.n_actions, m.n_states)
    labels = {"states": [*texts, "end"], "actions": ["a", "b", "'.'"]}
    return FiniteMDP.from_arrays(P, m.expected_reward, gamma=m.gamma, start=m.start, terminal=m.terminal, **labels)


@app.cell
def the_controls():
    x_slider = mo.ui.slider(steps=[k / 2 for k in range(-4, 5)], value=0.0, label='$x$, liking for "."',
                            show_value=True)  # fmt: skip
    gamma_slider = mo.ui.slider(steps=[k / 20 for k in range(10, 21)], value=0.9, label=r"$\gamma$", show_value=True)
    n_slider = mo.ui.slider(steps=[2, 3, 4], value=2, label="group size $n$", show_value=True)
    beta_slider = mo.ui.slider(steps=[0.0, 0.02, 0.04, 0.1, 0.2, 0.5], value=0.1, label=r"$\beta$", show_value=True)
    other_episodes = mo.ui.button(value=0, on_click=lambda n: n + 1, label="other episodes")
    load_button = mo.ui.button(value=0, on_click=lambda n: n + 1, label="load SmolLM2")
    return beta_slider, gamma_slider, load_button, n_slider, other_episodes, x_slider


@app.cell
def values_of_the_controls(beta_slider, gamma_slider, n_slider, other_episodes, x_slider):
    x, gamma, n, beta, seed = (
        control.value for control in (x_slider, gamma_slider, n_slider, beta_slider, other_episodes)
    )
    return beta, gamma, n, seed, x


@app.cell
def value_of_the_load_button(load_button):
    load = load_button.value > 0
    return (load,)


@app.cell
def the_problem(gamma, x):
    text = problem(gamma)
    m = text.finite()
    policy = policy_at(m, x)
    J, gradient = exact_objective(policy, m).item(), exact_gradient(policy, m)
    return J, gradient, m, policy, text


@app.cell(hide_code=True)
def show_the_problem(J, gamma, gamma_slider, m, policy, text, x, x_slider):
    one = problem(gamma, prompts=((A,),), horizon=2).finite()  # three tokens are too many for a slide
    pi = policy_at(one, x).matrix(one).detach().numpy()
    v_of, q, _ = evaluate(m, policy.matrix(m).detach().numpy())
    at_a, at_b = (m.state_index((o, ())) for o in text.prompts)
    mo.vstack([
        mo.md(rf"""
    ## 1. A tree of tokens

    The vocabulary is `a`, `b` and `.`, the end. There are two prompts, `a` and `b`, and {len(text.completions())}
    answers of at most three tokens to each. The table of the MDP has {m.n_states} states: {m.n_states - 1} prefixes,
    and one end. It is small, and has what text has: many prefixes, answers of different lengths, one reward at the
    end: 1/2 for every token that repeats the prompt, 1 for ending with `.`, and a price for each token.
    """),
        beside(r"R(o,y) = \tfrac12 \#\{t : a_t = o\} + \mathbf 1(a_{T-1} = \texttt{.}) - 0.2\, T", reward),
        mo.md(r"The policy is a table with a row of preferences for each prefix: 1 for `a`, 0 for `b`, $x$ for `.`."),
        row(x_slider, gamma_slider),
        plot_graph(readable(one), v=evaluate(one, pi).v, policy=pi,
                   title='prompt "a", at most two tokens; colour: v of a prefix; beside an arrow: p, r'),
        table({
            "the first token": list(VOCABULARY),
            r"$\pi(\cdot\vert \text{prompt})$": policy.matrix(m)[0].detach().tolist(),
            "$q$, prompt a": q[at_a],
            "$q$, prompt b": q[at_b],
        }),
        mo.md(f"""
    J = **{J:.10f}**: {v_of[at_a]:.6f} from the prompt a, and {v_of[at_b]:.6f} from b, which is harder, since the policy
    likes `a` whatever the prompt is.
    """),
    ])  # fmt: skip
    return


@app.function
def sequence_objective(text, m, policy):
    """J of the bandit whose actions are whole answers: sum over o of P(o) sum over y of pi(y|o) gamma^(T-1) R(o,y)."""
    log_pi, bandit, J = policy.matrix(m)[: m.n_states - 1].log(), text.sequences(), 0.0
    for o, y, r in ((o, y, bandit.outcomes(o, y)[0][2]) for o in text.prompts for y in bandit.actions):
        steps = [log_pi[m.state_index((o, y[:t])), a] for t, a in enumerate(y)]
        J = J + r * sum(steps).exp() / len(text.prompts)  # log pi(y|o) = sum over t of log pi(a_t|s_t)
    return J


@app.function
def of_whole_answers(batch, b=0.0):
    """-(1/N) sum over i of (gamma^(T-1) R(o,y) - b(o)) log pi(y|o)"""
    G = batch.gamma ** (batch.lengths - 1).double() * batch.rewards.sum(1)
    return -((G - b) * batch.log_probs.sum(1)).mean()


@app.function
def without_discount(batch):
    """-(1/N) sum over i of R(o,y) log pi(y|o)"""
    return -(batch.rewards.sum(1) * batch.log_probs.sum(1)).mean()


@app.cell
def the_two_levels(gradient, m, policy, text):
    J_bandit = sequence_objective(text, m, policy)
    by_sequences = torch.autograd.grad(J_bandit, policy.preferences.theta)[0].flatten()
    difference = float((by_sequences - gradient).abs().max())
    v = evaluate(m, policy.matrix(m).detach().numpy()).v.copy()
    levels = {
        "tokens, $G_t$": ReinforceLoss(),
        "whole answers, $R$": of_whole_answers,
        r"whole answers, $\gamma^{T-1}$ left out": without_discount,
        "whole answers, $R - v(o)$": lambda batch: of_whole_answers(batch, torch.tensor(v)[batch.states[:, 0]]),
        "tokens, $G_t - v(s_t)$": ReinforceLoss(baseline=v),
    }
    level_audits = {name: audit(loss, policy, m) for name, loss in levels.items()}
    return J_bandit, by_sequences, difference, level_audits


@app.cell(hide_code=True)
def show_the_two_levels(J, J_bandit, by_sequences, difference, gamma, gamma_slider, gradient, level_audits, x_slider):
    mo.vstack([
        mo.md(r"""
    ## 2. Token MDP or bandit, for a language model?

    Read token by token, the problem has many states and steps. Read as a bandit it has one step, with whole answers for
    actions. Both readings have the same $\theta$, and $\log\pi(y|o)$ is the sum of the tokens' $\log\pi$. So they have
    the same gradient. First exactly, by two routes: the policy gradient theorem on the tree, and backpropagation
    through the sum over all answers (`text.sequences()`, which knows neither prefixes nor $q$):
    """),
        row(x_slider, gamma_slider),
        table({
            "": ["tokens: theorem", "bandit: sum over answers", "largest difference"],
            "$J$": [f"{J:.10f}", f"{J_bandit.item():.10f}", f"{J - J_bandit.item():.1e}"],
            r"$\vert\nabla J\vert$": [
                f"{float(gradient.norm()):.10f}", f"{float(by_sequences.norm()):.10f}", f"{difference:.1e}",
            ],
        }),
        mo.md("Then as losses, each with its exact mean and the exact variance of one answer's gradient:"),
        table({
            rf"$\gamma$ = {gamma:g}": list(level_audits),
            "verdict": [found.verdict for found in level_audits.values()],
            "cosine": [found.cosine for found in level_audits.values()],
            "scale": [found.scale for found in level_audits.values()],
            "variance, 1 answer": [found.covariance_trace for found in level_audits.values()],
        }),
        mo.md(r"""
    So it does not matter. The reward comes with the last token, so that $\gamma^t G_t = \gamma^{T-1} R$ at every $t$:
    the first two rows are the *same* estimator, down to the variance. Two things to know:

    - Below $\gamma = 1$ the bandit's reward is $\gamma^{T-1} R$. Left out, the loss climbs $J$ of $\gamma = 1$ (row
      3; at $\gamma = 1$ it is exact). Trainers of language models use $\gamma = 1$.
    - What only the token MDP can have is a value for each prefix. As a baseline it changes no mean, and the variance
      (last row) more than the value of the prompt does.
    """),
        source(sequence_objective, of_whole_answers),
    ])  # fmt: skip
    return


@app.function
def group_losses():
    """{name: loss}; std: divided by the group's standard deviation; 1/T: each answer's tokens are averaged."""
    return {
        "RLOO": named.rloo(),
        "Dr. GRPO: mean of the group": named.dr_grpo(HORIZON),
        "std alone": PolicyLoss(group_standardised),
        "1/T alone": PolicyLoss(group_mean, aggregation=episode_mean),
        "GRPO: std and 1/T": named.grpo(),
        "DAPO: std, all tokens": named.dapo(),
    }


@app.function
def mean_length(_prompt, y):
    """Paid as a reward at gamma = 1, it makes J the mean length of an answer."""
    return len(y)


@app.cell
def the_groups(m, n, policy):
    groups = {name: audit(loss, policy, m, group_size=n) for name, loss in group_losses().items()}
    lengths = problem(1.0, mean_length).finite()
    E_T, grad_T = exact_objective(policy, lengths).item(), exact_gradient(policy, lengths)
    longer = {name: float(grad_T @ g.expected / g.expected.norm()) for name, g in groups.items()}
    return E_T, groups, longer


@app.cell(hide_code=True)
def show_the_groups(E_T, gamma, gamma_slider, groups, longer, n, n_slider, x_slider):
    std, per_length, grpo = (groups[name].cosine for name in ("std alone", "1/T alone", "GRPO: std and 1/T"))
    mo.vstack([
        mo.md(r"""
    ## 3. Divide by the group's standard deviation? What is the length bias?

    $$\text{GRPO:} \quad -\frac1n \sum_{i=1}^n \frac{1}{T_i} \sum_t \rho_{i,t}\, A_i, \qquad
    A_i = \frac{R_i - \text{mean}(R_1 \dots R_n)}{\text{std}(R_1 \dots R_n)}, \qquad
    \text{RLOO:} \quad A_i = R_i - \frac{1}{n-1} \sum_{j \neq i} R_j$$

    $n$ answers to one prompt are compared with each other. `audit` lists all groups that could be drawn, and gives the
    exact mean of the gradient that an optimiser would see:
    """),
        row(x_slider, gamma_slider, n_slider),
        draw_groups(groups),
        table({
            rf"$n$ = {n}, $\gamma$ = {gamma:g}": list(groups),
            "verdict": [found.verdict for found in groups.values()],
            "cosine": [found.cosine for found in groups.values()],
            "scale": [found.scale for found in groups.values()],
            "mean length, per unit step": list(longer.values()),
        }),
        mo.md(rf"""
    - **Standard deviation.** The mean as a baseline costs nothing but a factor $(n-1)/n$, since the own sample is in
      it; RLOO leaves it out, and is exact. The standard deviation is no constant: it belongs to the sample. It gives
      every group the same weight, be its rewards far apart or nearly equal. The cosine with $\nabla J$ is {std:.4f}.
    - **Length bias.** The gradient of $\log\pi(y|o)$ is a *sum* over $T$ tokens. GRPO takes their mean. A token of an
      answer of 1 token weighs 1, one of an answer of {HORIZON} tokens 1/{HORIZON}: long good answers are praised too
      little, and long bad ones blamed too little. The cosine of this alone is {per_length:.4f}. The last column tells
      what it does: the mean length is {E_T:.4f}, and along $\nabla J$ it changes by {longer["RLOO"]:.4f} per unit step,
      with 1/T by {longer["1/T alone"]:.4f}. Dr. GRPO divides by a constant instead: right direction, another step size.
    - **Both**, as GRPO has them: {grpo:.4f}. The cosine of the angle is not 1, and no learning rate repairs that.
      Whether the bias hurts or helps in the end is another question; but it climbs something else than $J$.
    """),
        source(group_losses),
    ])
    return


@app.function
def grpo_training(m, x, beta, seed):
    """GRPO with KL from the policy at x, which stays the reference: the policies before each update, and the losses."""
    policy, reference, generator = policy_at(m, x), policy_at(m, x), torch.Generator().manual_seed(seed)
    agent = Reinforce(policy, loss=named.grpo(beta), reference=reference, optimizer=plain_ascent(policy, 1.0))
    policies, losses = [], []
    for _ in range(UPDATES):
        policies.append(copy.deepcopy(policy))
        losses.append(agent.update(rollout(policy, m, GROUPS * N, group_size=N, generator=generator))["loss"])
    return policies, np.array(losses)


@app.function
def moments_of_grpo(m, policy, reference, beta):
    """Exact mean and standard error of the loss of a fresh batch, beta (1/T) sum over t of k_t (the A_i sum to 0)."""
    pi, ref = (p.matrix(m).detach().numpy() for p in (policy, reference))
    found = {s: [] for s in np.flatnonzero(m.start)}
    for p, tau in enumerate_trajectories(m, pi):
        s, a = np.array(tau.states[:-1]), np.array(tau.actions)
        d = np.log(pi[s, a] / ref[s, a])
        found[tau.states[0]].append((p / m.start[s[0]], beta * (np.exp(-d) - 1 + d).mean()))
    means, variances = [], []
    for p, k3 in (np.array(pairs).T for pairs in found.values()):
        means.append(p @ k3)
        variances.append(p @ (k3 - p @ k3) ** 2)
    P, means, variances = m.start[m.start > 0], np.array(means), np.array(variances)
    mean = P @ means
    return mean, np.sqrt((P @ (means - mean) ** 2 + P @ variances / N) / GROUPS)  # a group shares its prompt


@app.cell
def the_grpo_training(beta, seed):
    m_text = problem(1.0).finite()
    grpo_policies, grpo_losses = grpo_training(m_text, 0.0, beta, seed)
    grpo_Js = np.array([exact_objective(pi_k, m_text).item() for pi_k in grpo_policies])
    grpo_mean, grpo_error = np.array(
        [moments_of_grpo(m_text, pi_k, grpo_policies[0], beta) for pi_k in grpo_policies]
    ).T
    return grpo_Js, grpo_error, grpo_losses, grpo_mean


@app.cell(hide_code=True)
def show_the_grpo_training(beta, beta_slider, grpo_Js, grpo_error, grpo_losses, grpo_mean, other_episodes):
    mo.vstack([
        mo.md(rf"""
    ## 4. Why does a GRPO loss start at 0 and rise?

    $$\text{{loss}} = -\frac1n \sum_i \frac{{1}}{{T_i}} \sum_t \big(\rho_{{i,t}} A_i - \beta\, k_{{i,t}}\big), \qquad
    k = \frac{{\pi_\text{{ref}}}}{{\pi}} - 1 - \log\frac{{\pi_\text{{ref}}}}{{\pi}} \;\geq 0$$

    On fresh answers every ratio $\rho$ is 1, so the mean over $t$ of $\rho A_i$ is $A_i$; and the $A_i$ of a group sum
    to 0. What is left is $\beta$ times the KL term, which is 0 as long as the policy is the reference, and grows as it
    moves away. Here are {UPDATES} updates of `named.grpo(beta)`, $\gamma = 1$, {GROUPS} groups of {N} answers each:
    """),
        row(beta_slider, other_episodes),
        draw_grpo(grpo_Js, grpo_losses, grpo_mean, grpo_error),
        table({
            rf"$\beta$ = {beta:g}": ["first update", "last update"],
            "loss, sampled": [f"{grpo_losses[k]:.6f}" for k in (0, -1)],
            "its exact mean": [f"{grpo_mean[k]:.6f}" for k in (0, -1)],
            "exact standard error": [f"{grpo_error[k]:.6f}" for k in (0, -1)],
            "$J$, exact": [f"{grpo_Js[k]:.6f}" for k in (0, -1)],
        }),
        mo.md(rf"""
    The loss starts at {abs(grpo_losses[0]):.1e} and is {grpo_losses[-1]:.6f} at the end, while $J$ goes from
    {grpo_Js[0]:.4f} to {grpo_Js[-1]:.4f}. A rising loss says that the policy leaves the reference, and nothing about
    $J$. Set $\beta = 0$: the loss is 0 (up to rounding) in every update, and $J$ rises all the same. A number that is 0
    need not have a gradient that is 0: $\rho$ is 1, and $\nabla\rho$ is $\nabla\log\pi$.
    """),
    ])
    return


@app.function
def transformer():
    """A GPT-2 of 2 layers with random weights, float64, for the three tokens."""
    model = random_model("gpt2", vocab_size=3, n_embd=16, n_head=2, n_layer=2, n_positions=8, initializer_range=0.5,
                         bos_token_id=None, eos_token_id=None)  # fmt: skip
    return LanguageModelPolicy(model.double())


@app.cell
def the_transformer():
    gpt2_report = gpt2_audits = gpt2_difference = None
    if find_spec("transformers"):
        _text = problem(0.9)
        _m, _policy = _text.finite(), transformer()
        gpt2_report = pgcheck(_policy, _m, episodes=2000, name="gpt2, three tokens")
        gpt2_audits = {
            name: audit(loss, _policy, _m, group_size=2) for name, loss in list(group_losses().items())[::4]
        }
        _sequences = torch.autograd.grad(sequence_objective(_text, _m, _policy), list(_policy.parameters()))
        _by_answers = torch.cat([g.flatten() for g in _sequences])
        gpt2_difference = float((_by_answers - exact_gradient(_policy, _m)).abs().max())
        if mo.app_meta().mode == "script":
            print(gpt2_report)
    return gpt2_audits, gpt2_difference, gpt2_report


@app.cell(hide_code=True)
def show_the_transformer(gpt2_audits, gpt2_difference, gpt2_report):
    _missing = "This section needs transformers: `pip install -e '.[lm]'`, which `make` does."
    mo.vstack([
        mo.md(r"""
    ## 5. The same on a transformer

    A causal language model is a policy like the table: preferences (logits) in, $\pi$ out. Only the policy object
    differs. `LanguageModelPolicy(model)` takes any model of transformers; here a GPT-2 with random weights, in float64.
    """),
        source(transformer),
        *([mo.md(_missing)] if gpt2_report is None else [
            mo.plain_text(str(gpt2_report)),
            mo.md(rf"""
    Four routes to $\nabla J$ of {len(next(iter(gpt2_audits.values())).exact):,} parameters, through attention and layer
    norm. The sampled one stands with its exact standard error: SE / |grad J| = {gpt2_report.relative_error:.3f}. Tokens
    and whole answers: the largest difference of a coordinate is {gpt2_difference:.1e}. The losses, groups of 2:
    """),
            table({
                "loss": list(gpt2_audits),
                "verdict": [found.verdict for found in gpt2_audits.values()],
                "cosine": [found.cosine for found in gpt2_audits.values()],
                "scale": [found.scale for found in gpt2_audits.values()],
            }),
        ]),
    ])  # fmt: skip
    return


@app.function
def next_tokens(policy, prompt):
    """(token ids of the prompt, pi(.|prompt) over the whole vocabulary, differentiable)"""
    ids = torch.tensor([policy.tokenizer(prompt)["input_ids"]])
    return ids, policy.log_probabilities(ids)[0].exp()


@app.function
def one_step(folder, prompt, answer):
    """J = pi(answer|prompt), the one-step objective that pays 1 for one token; its gradient; the likeliest tokens."""
    policy = LanguageModelPolicy(load_model(folder, dtype=torch.float64), load_tokenizer(folder))
    _, pi = next_tokens(policy, prompt)
    J = pi[policy.tokenizer(answer)["input_ids"][0]]
    gradient = torch.autograd.grad(J, list(policy.parameters()), retain_graph=False)
    top = pi.detach().topk(8)
    return {
        "J": J.item(),
        "norm": float(sum(g.square().sum() for g in gradient).sqrt()),
        "parameters": sum(g.numel() for g in gradient),
        "tokens": len(pi),
        "top": {repr(policy.tokenizer.decode([k])): p for p, k in zip(*(x.tolist() for x in top), strict=True)},
    }


@app.cell
def the_model(load):
    _folder = mo.notebook_dir().parent / "models" / "SmolLM2-135M-Instruct"
    there = bool(find_spec("transformers")) and (_folder / "model.safetensors").exists()
    smollm2 = one_step(_folder, "The capital of France is", " Paris") if load and there else None
    return smollm2, there


@app.cell(hide_code=True)
def show_the_model(load_button, smollm2, there):
    _how = "Press the button; loading takes some seconds." if there else (
        "The model is not there. `make model` fetches it once (0.5 GB); then load this page again."
    )
    mo.vstack([
        mo.md(r"""
    ## 6. The same on SmolLM2

    The one-step problem of the last tutorial with a real model: the prompt is "The capital of France is", an action is
    one of 49,152 tokens, and the reward is 1 for " Paris" and 0 for anything else. Then $J = \pi(\text{Paris}|o)$.
    """),
        load_button,
        *([mo.md(_how)] if smollm2 is None else [
            draw_tokens(smollm2["top"]),
            mo.md(rf"""
    J = **{smollm2["J"]:.10f}**, summed over all {smollm2["tokens"]:,} tokens in float64, and |grad J| =
    **{smollm2["norm"]:.6f}** over all {smollm2["parameters"]:,} parameters. One sampled token gives
    $R\, \nabla\log\pi$, which is $\nabla J / \pi(\text{{Paris}}|o)$ or 0, so the standard error of $N$ samples is
    $|\nabla J| \sqrt{{(1 / J - 1) / N}}$: for 10 % of the gradient $N$ = {100 * (1 / smollm2["J"] - 1):.0f}.
    """),
        ]),
        mo.md("`exactrl verify --model models/SmolLM2-135M-Instruct` checks the gradient of four tokens likewise."),
    ])  # fmt: skip
    return


@app.function
def solution_1():
    """J of the uniform policy on `token_brackets`: by hand, and by the package."""
    m = token_brackets()
    return 1 / 3**2 + 2 / 3**4 + 5 / 3**5, evaluate(m, m.uniform_policy()).objective


@app.function
def solution_2(n):
    """Scale of the group's mean as a baseline, and cosine of the standardised advantage, for groups of n."""
    m = problem(1.0).finite()
    policy = policy_at(m, 0.0)
    mean, std = (audit(PolicyLoss(A), policy, m, group_size=n) for A in (group_mean, group_standardised))
    return mean.scale, std.cosine


@app.function
def right_or_wrong(prompt, y):
    """1 for an answer that repeats the prompt and ends: "a." or "b.", else 0."""
    return float(y == (*prompt, END))


@app.function
def solution_3(n, *prompts):
    """The standardised advantage with rewards 0 and 1, groups of n."""
    m = problem(1.0, right_or_wrong, prompts).finite()
    return audit(PolicyLoss(group_standardised), policy_at(m, 0.0), m, group_size=n)


@app.cell(hide_code=True)
def exercises():
    by_hand, by_package = solution_1()
    scales = {n: solution_2(n) for n in (2, 3, 4)}
    prompts = {"a alone": ((A,),), "b alone": ((B,),), "a and b": ((A,), (B,))}
    p_a, p_b = (exact_objective(policy_at(one, 0.0), one).item() for one in (
        problem(1.0, right_or_wrong, (o,)).finite() for o in ((A,), (B,))))  # fmt: skip
    binary = {(name, n): solution_3(n, *which) for name, which in prompts.items() for n in (3, 4)}
    mo.vstack([
        mo.md("## 7. Exercises"),
        exercise(
            1,
            r"""*Brackets.* After the prompt `(` a policy writes `(`, `)` or `.`, at most five tokens; the reward is 1
    if all brackets are closed in the end. What does the uniform policy earn?""",
            r"""With 1, 2 and 3 closing brackets there are 1, 2 and 5 right texts (the Catalan numbers). The first has
    the two tokens `).`, the next ones four, and five tokens are the end anyway:
    $1/3^2 + 2/3^4 + 5/3^5 = 38/243$.""",
            table({"": ["by hand", "`evaluate`"], "$J$": [f"{by_hand:.10f}", f"{by_package:.10f}"]}),
            source(solution_1),
        ),
        exercise(
            2,
            r"""*Larger groups.* What happens to the two errors of section 3 as the group grows: the factor of the mean,
    and the bias of the standard deviation?""",
            table({
                "$n$": list(scales),
                "scale, group mean": [scale for scale, _ in scales.values()],
                "$(n-1)/n$": [(n - 1) / n for n in scales],
                "cosine, divided by std": [cosine for _, cosine in scales.values()],
            }),
            r"""The factor goes to 1. The bias gets smaller and does not go to 0: in an endless group the standard
    deviation is that of the prompt, and divides the gradient of every prompt by another number.""",
            source(solution_2),
        ),
        exercise(
            3,
            r"""*Right or wrong.* Let the reward be 1 for the answer `a.` to `a` and `b.` to `b`, else 0. Is the
    standardised advantage biased with one prompt? With two?""",
            table({
                "prompts": [name for name, _ in binary],
                "$n$": [n for _, n in binary],
                "verdict": [found.verdict for found in binary.values()],
                "cosine": [found.cosine for found in binary.values()],
                "scale": [found.scale for found in binary.values()],
            }),
            rf"""With rewards 0 and 1 only the number of right answers in the group matters, and the mean is a multiple
    of $\nabla \Pr(\text{{right}})$: one prompt is only *scaled*. With 4 answers the multiple differs between
    prompts: one right answer among four has another standard deviation than two, and the hard prompt sees it more
    often. With two prompts the sum then points elsewhere. With 3 answers, one right and two right have the same
    deviation. Here larger groups have more bias: in an endless one the multiple is $1 / \sqrt{{p\,(1 - p)}}$, with $p$
    the probability of a right answer, and that is {(p_a * (1 - p_a)) ** -0.5:.2f} for a and
    {(p_b * (1 - p_b)) ** -0.5:.2f} for b.""",
            source(solution_3),
        ),
    ])  # fmt: skip
    return


@app.function
@styled
def draw_groups(groups):
    """Angle and scale of each loss, coloured by its verdict."""
    figure, (left, right) = panels(1.3, 1, width=11, height=3.3, sharey=True)
    kinds = {name: found.verdict for name, found in groups.items()}
    degrees = {name: float(np.degrees(np.arccos(min(1.0, found.cosine)))) for name, found in groups.items()}
    draw_bars(right, {name: found.scale for name, found in groups.items()}, kinds=kinds, level=1,
              xlabel=r"scale along $\nabla J$")  # fmt: skip
    draw_bars(left, degrees, kinds=kinds,
              xlabel=r"angle to $\nabla J$ in degrees  (blue exact, orange scaled, red biased)")  # fmt: skip
    return figure


@app.function
@styled
def draw_grpo(Js, losses, mean, error):
    """J on the left; the loss on the right: sampled, and its exact mean."""
    figure, (left, right) = panels(1, 1.2, width=11, height=3.8)
    k, name = np.arange(len(Js)), "exact mean, 2 SE of a batch"
    draw_curves(left, k, {"$J$": Js}, kinds={"$J$": "exact"}, xlabel="update", ylabel="$J$", title="exact objective")
    draw_curves(right, k, {name: mean}, kinds={name: "exact"}, errors={name: error},
                xlabel="update", ylabel="loss", title="GRPO loss")  # fmt: skip
    right.plot(k, losses, "o", color=color_of("sampled"), label="loss of a batch", ms=5)
    low, high = right.get_ylim()
    right.set_ylim(min(low, -1e-3), max(high, 1e-3))  # where all is 0, rounding is not made visible
    right.legend(loc="upper left")
    return figure


@app.function
@styled
def draw_tokens(top):
    """The probabilities of the likeliest next tokens."""
    figure, (axes,) = panels(1, width=8.5, height=3)
    draw_bars(axes, top, xlabel="probability of the next token")
    return figure


@app.function
def test_tokens_and_whole_answers_have_one_gradient():
    for gamma, x in ((1.0, 0.0), (0.9, 0.0), (0.5, -2.0)):
        text = problem(gamma)
        m = text.finite()
        policy = policy_at(m, x)
        by_answers = torch.autograd.grad(sequence_objective(text, m, policy), policy.preferences.theta)[0].flatten()
        assert float((by_answers - exact_gradient(policy, m)).abs().max()) < 1e-12
        assert audit(of_whole_answers, policy, m).verdict == "exact"
        assert audit(without_discount, policy, m).verdict == ("exact" if gamma == 1 else "biased")


@app.function
def test_verdicts_of_the_group_losses():
    m = problem(1.0).finite()
    found = {name: audit(loss, policy_at(m, 0.0), m, group_size=2) for name, loss in group_losses().items()}
    assert [x.verdict for x in found.values()] == ["exact", "scaled"] + ["biased"] * 4
    assert abs(found["Dr. GRPO: mean of the group"].scale - 1 / 6) < 1e-9
    assert abs(found["GRPO: std and 1/T"].cosine - 0.9109) < 5e-5


@app.function
def test_a_grpo_loss_is_its_kl_term():
    m = problem(1.0).finite()
    _, losses = grpo_training(m, 0.0, 0.0, seed=0)
    assert np.abs(losses).max() < 1e-12
    policies, losses = grpo_training(m, 0.0, 0.1, seed=0)
    assert abs(losses[0]) < 1e-12 < 1e-3 < losses[-1]
    assert exact_objective(policies[-1], m) > exact_objective(policies[0], m) + 0.1


@app.function
def test_solutions():
    by_hand, by_package = solution_1()
    assert abs(by_hand - 38 / 243) < 1e-12
    assert abs(by_package - 38 / 243) < 1e-12
    for n in (2, 3):
        assert abs(solution_2(n)[0] - (n - 1) / n) < 1e-9
    verdicts = {n: [solution_3(n, *o).verdict for o in (((A,),), ((B,),), ((A,), (B,)))] for n in (3, 4)}
    assert verdicts == {3: ["scaled"] * 3, 4: ["scaled", "scaled", "biased"]}


if __name__ == "__main__":
    app.run()
