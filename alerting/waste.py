"""What faults, checkpoints and a fault predictor cost a whole training run. Pure formulas, all times in seconds.

Symbols: mu mean time between failures of the job; C a periodic checkpoint (the job waits), T the time from the
end of one to the end of the next (so T - C of it is work); D downtime, R recovery, U = D + R; C_p a checkpoint
on an alarm, P a planned move; r recall, p precision. A run has 1/mu faults a second: (1-r)/mu unpredicted, r/mu
predicted; r/(p mu) alarms, of which r(1-p)/(p mu) false. Waste is the share of time that is not work that lasts;
ETTR (effective training time ratio) is 1 - waste. First-order formulas hold for T, U << mu; where they leave
0..1 the run makes no progress, and the result is 1 (ETTR 0).

Sources: Young 1974; Daly 2006; Aupy, Robert, Vivien and Zaidouni, "Checkpointing algorithms and fault
prediction", JPDC 2014 (trust-all, refined, windows); Kokolis et al., HPCA 2025 (RSC). The product form is derived
in docs/economics.md. Recall counts only the alarms that come at least C_p ahead of the fault.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from alerting.economics import not_negative, positive, share, young_daly_interval_s

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A job: mu, C, R and D in seconds. `ValueError` where mu is not > 0 or a cost is negative."""

    mtbf_s: float
    checkpoint_s: float
    recovery_s: float = 0.0
    downtime_s: float = 0.0

    def __post_init__(self) -> None:
        positive(mtbf_s=self.mtbf_s)
        not_negative(checkpoint_s=self.checkpoint_s, recovery_s=self.recovery_s, downtime_s=self.downtime_s)

    @property
    def unplanned_s(self) -> float:
        """U = D + R: from the fault until the job works again."""
        return self.downtime_s + self.recovery_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """r in 0..1, p in (0, 1], C_p and P in seconds; a predictor that never warns is recall 0."""

    recall: float
    precision: float
    proactive_s: float = 0.0
    move_s: float = 0.0

    def __post_init__(self) -> None:
        share(recall=self.recall, precision=self.precision)
        positive(precision=self.precision)
        not_negative(proactive_s=self.proactive_s, move_s=self.move_s)

    @property
    def alarms_per_fault(self) -> float:
        """r/p: alarms, true and false, for each fault of the run."""
        return self.recall / self.precision


def job_mtbf_s(gpus: int, faults_per_gpu_day: float) -> float:
    """MTBF mu = 86400 / (N f): independent faults, and any GPU's fault stops the job. Llama 3 (Table 5): 3.09 h."""
    positive(gpus=gpus, faults_per_gpu_day=faults_per_gpu_day)
    return DAY_S / (gpus * faults_per_gpu_day)


def budget_s(mtbf_s: float, target_ettr: float) -> float:
    """Budget mu (1 - ETTR): seconds that one interruption may cost, with its share of all checkpoints and alarms."""
    positive(mtbf_s=mtbf_s)
    share(target_ettr=target_ettr)
    return mtbf_s * (1.0 - target_ettr)


def young_daly_waste(run: Run, interval_s: float) -> float:
    """W = C/T + (1 - C/T)(D + R + T/2)/mu, first order (Young 1974, Daly 2006)."""
    return _waste(run, interval_s, interval_s / 2.0 + run.unplanned_s)


def exponential_ettr(run: Run, interval_s: float) -> float:
    """ETTR = (T - C) / [(mu + D) e^(R/mu) (e^(T/mu) - 1)], exact for exponential faults (Daly 2006).

    A fault may also strike a checkpoint or a recovery, which then starts again; D is free of faults.
    """
    _interval(run, interval_s)
    # e^-x in place of e^x, so that a run without hope is 0 and no overflow
    survives = math.exp(-(run.recovery_s + interval_s) / run.mtbf_s)
    work_s = (interval_s - run.checkpoint_s) * survives
    return work_s / ((run.mtbf_s + run.downtime_s) * -math.expm1(-interval_s / run.mtbf_s))


def trust_all_waste(run: Run, predictor: Predictor, interval_s: float) -> float:
    """W = C/T + (1 - C/T)/mu [(1-r) T/2 + D + R + (r/p) C_p]: a checkpoint at each alarm (Aupy et al. 2014)."""
    return _waste(run, interval_s, _unforetold_s(run, predictor, interval_s) + _alarms_s(predictor))


def trust_all_interval_s(run: Run, predictor: Predictor) -> float:
    """T* = sqrt(2 C (mu - D - R - r C_p/p) / (1 - r)); `ValueError` where mu has no room for the alarms."""
    room_s = run.mtbf_s - run.unplanned_s - _alarms_s(predictor)
    if room_s <= 0.0:
        raise ValueError(
            f"no interval helps: recovery and alarms take all of {run.mtbf_s:g} s between faults"
        )
    return young_daly_interval_s(run.checkpoint_s, room_s, predictor.recall)


def trust_after_s(predictor: Predictor) -> float:
    """C_p/p: an alarm sooner than this after a checkpoint has less to save than it costs (Aupy et al. 2014)."""
    return predictor.proactive_s / predictor.precision


def refined_waste(run: Run, predictor: Predictor, interval_s: float) -> float:
    """As trust-all, with an alarm heeded only C_p/p or more after a checkpoint (Aupy et al. 2014).

    W = C/T + (1 - C/T)/mu [(1-r) T/2 + D + R + (r/p) C_p (1 - C_p/(2pT))]; for T < C_p/p no alarm is heeded
    and the bracket is Young's.
    """
    _interval(run, interval_s)
    unheeded_s = min(trust_after_s(predictor), interval_s)
    lost_s = predictor.precision * unheeded_s**2 / (2.0 * interval_s)
    price_s = predictor.proactive_s * (1.0 - unheeded_s / interval_s)
    alarms_s = predictor.alarms_per_fault * (lost_s + price_s)
    return _waste(run, interval_s, _unforetold_s(run, predictor, interval_s) + alarms_s)


def refined_interval_s(run: Run, predictor: Predictor) -> float:
    """T* = sqrt((2 mu C - r C_p^2/p^2) / (1 - r)), or Young's where that is below C_p/p: no alarm pays then."""
    plain_s = young_daly_interval_s(run.checkpoint_s, run.mtbf_s)
    after_s = trust_after_s(predictor)
    if plain_s <= after_s:
        return plain_s
    if predictor.recall == 1.0:
        raise ValueError("recall must be below 1 for an interval: with every fault foretold none is needed")
    return math.sqrt((plain_s**2 - predictor.recall * after_s**2) / (1.0 - predictor.recall))


def window_waste(
    run: Run,
    predictor: Predictor,
    interval_s: float,
    *,
    window_s: float,
    offset_s: float | None = None,
    inner_s: float | None = None,
) -> float:
    """Alarms that name a window of length I, not a date (Aupy et al. 2014). E is `offset_s`, else I/2.

    One checkpoint before the window: trust-all's bracket + r E. With checkpoints every T_p (`inner_s`) inside:
    + (r/p) t_w C_p/T_p + r T_p/2 in its place, where t_w = (1-p) I + p E is the time spent inside.
    """
    inside_s = window_time_s(predictor, window_s=window_s, offset_s=offset_s)
    lost_s = predictor.recall * _offset(window_s, offset_s)
    if inner_s is not None:
        positive(inner_s=inner_s)
        saves_s = predictor.alarms_per_fault * inside_s * predictor.proactive_s / inner_s
        lost_s = saves_s + predictor.recall * inner_s / 2.0
    bracket_s = _unforetold_s(run, predictor, interval_s) + _alarms_s(predictor) + lost_s
    return _waste(run, interval_s, bracket_s)


def window_time_s(predictor: Predictor, *, window_s: float, offset_s: float | None = None) -> float:
    """t_w = (1-p) I + p E: a false alarm lasts the whole window, a true one until the fault."""
    offset = _offset(window_s, offset_s)
    return (1.0 - predictor.precision) * window_s + predictor.precision * offset


def window_interval_s(predictor: Predictor, *, window_s: float, offset_s: float | None = None) -> float:
    """T_p* = sqrt(2 C_p t_w / p), the interval inside a window (Aupy et al. 2014)."""
    inside_s = window_time_s(predictor, window_s=window_s, offset_s=offset_s)
    return math.sqrt(2.0 * predictor.proactive_s * inside_s / predictor.precision)


def product_ettr(run: Run, predictor: Predictor | None = None, interval_s: float | None = None) -> float:
    """ETTR = [1 - C/T - (1-r)T/(2mu)] / [1 + ((1-r)U + (r/p)(C_p+P))/mu]: each alarm drains and moves the job.

    `interval_s` is T, else sqrt(2 mu C/(1-r)). Slightly low: within 0.4 pp of a simulation at 81 %, 0.03 pp
    above 96 %. Derived in docs/economics.md.
    """
    known = predictor if predictor is not None else Predictor(recall=0.0, precision=1.0)
    unforetold = 1.0 - known.recall
    if interval_s is None:
        interval_s = young_daly_interval_s(run.checkpoint_s, run.mtbf_s, known.recall)
    if interval_s == 0.0 and run.checkpoint_s == 0.0:  # a checkpoint that is free is taken all the time
        up = 1.0
    else:
        _interval(run, interval_s)
        up = 1.0 - run.checkpoint_s / interval_s - unforetold * interval_s / (2.0 * run.mtbf_s)
    price_s = known.alarms_per_fault * (known.proactive_s + known.move_s)
    return max(0.0, up / (1.0 + (unforetold * run.unplanned_s + price_s) / run.mtbf_s))


def rsc_mttf_s(nodes: int, failures_per_node_day: float) -> float:
    """MTTF = 1/(N r_f) in seconds, r_f per node-day (Kokolis et al. 2025; RSC-1: 6.50 per 1,000 node-days)."""
    positive(nodes=nodes, failures_per_node_day=failures_per_node_day)
    return DAY_S / (nodes * failures_per_node_day)


def rsc_ettr(mttf_s: float, start_s: float, write_s: float, interval_s: float | None = None) -> float:
    """E[ETTR] = [1 - (u0 + dt/2)/MTTF] / (1 + w/dt), dt* = sqrt(2 w MTTF) (Kokolis et al. 2025).

    u0 is `start_s` (a restart), w `write_s`, dt `interval_s`: work between two checkpoints, without the write.
    """
    positive(mttf_s=mttf_s)
    not_negative(start_s=start_s, write_s=write_s)
    interval_s = young_daly_interval_s(write_s, mttf_s) if interval_s is None else interval_s
    positive(interval_s=interval_s)
    return max(0.0, (1.0 - (start_s + interval_s / 2.0) / mttf_s) / (1.0 + write_s / interval_s))


def false_positive_rate(prevalence: float, recall: float, precision: float) -> float:
    """False alarms per fault-free window, pi r (1-p) / (p (1-pi)); pi is the share of windows with a fault."""
    share(prevalence=prevalence, recall=recall, precision=precision)
    positive(precision=precision)
    if prevalence == 1.0:
        raise ValueError("prevalence must be below 1: there are no windows without a fault")
    return prevalence * recall * (1.0 - precision) / (precision * (1.0 - prevalence))


def _interval(run: Run, interval_s: float) -> None:
    positive(interval_s=interval_s)
    if interval_s < run.checkpoint_s:
        raise ValueError(
            f"interval_s must hold its checkpoint of {run.checkpoint_s:g} s (got {interval_s:g})"
        )


def _offset(window_s: float, offset_s: float | None) -> float:
    not_negative(window_s=window_s)
    offset = window_s / 2.0 if offset_s is None else offset_s
    if not 0.0 <= offset <= window_s:
        raise ValueError(f"offset_s must lie in the window of {window_s:g} s (got {offset:g})")
    return offset


def _unforetold_s(run: Run, predictor: Predictor, interval_s: float) -> float:
    return (1.0 - predictor.recall) * interval_s / 2.0 + run.unplanned_s


def _alarms_s(predictor: Predictor) -> float:
    return predictor.alarms_per_fault * predictor.proactive_s


def _waste(run: Run, interval_s: float, per_fault_s: float) -> float:
    """C/T + (1 - C/T) (seconds per fault)/mu, and 1 where that is more: no progress."""
    _interval(run, interval_s)
    writing = run.checkpoint_s / interval_s
    return min(1.0, writing + (1.0 - writing) * per_fault_s / run.mtbf_s)
