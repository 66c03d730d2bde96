"""The faults that this daemon is tried against, by name: the promise of each and what injects it.

`make faults` runs them and prints what was injected, survived and lost; docs/explanation/faults.md
is made from this table.
"""

from dataclasses import dataclass

OURSELVES = "tests/scenarios/test_ourselves.py"
FAULTS = "tests/scenarios/test_faults.py"
FAILURE = "tests/scenarios/test_failure.py"
DOCKER = "tests/scenarios/test_docker.py"
ENGINE = "tests/contracts/test_docker_faults.py"
PLANE = "tests/contracts/test_edge_plane.py"
DATABASE = "tests/unit/registry/test_database.py"
SQLITE = "tests/unit/registry/test_sqlite.py"
COMMITS = "tests/unit/registry/test_commits.py"
LOGS = "tests/unit/runtimes/process/test_logs.py"
FEED = "tests/unit/web/live/test_feed.py"
WALL_CLOCK = "tests/scenarios/test_wall_clock.py"
HEALTH = "tests/scenarios/test_health.py"
TIMERS = "tests/unit/daemon/test_timers.py"
SHUTDOWN = "tests/scenarios/test_shutdown.py"
DAYS = "tests/simulation/test_busy_day.py::test_busy_day"


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedFault:
    """`tests` are ids of pytest, a file or a test in it; `open` says what nothing injects yet."""

    number: int
    name: str
    promise: str
    tests: tuple[str, ...]
    simulated: bool = False  # also lived through in the days of the simulation
    always: bool = False  # among the first that CI must run
    open: str = ""


TABLE = (
    InjectedFault(
        number=1,
        name="sigstop_daemon",
        promise="A daemon that stood still expires no lease whose renewal had arrived, and no load.",
        tests=(
            f"{OURSELVES}::test_sigstop_daemon_expires_nothing_unheard",
            f"{OURSELVES}::test_lease_that_nobody_renews_expires_after_a_stop",
            f"{FAULTS}::test_no_load_times_out_by_a_standstill",
        ),
        simulated=True,
        always=True,
    ),
    InjectedFault(
        number=2,
        name="sigstop_others",
        promise="A server, an nginx worker or a Docker Engine that hangs is waited for within a "
        "bound, and the status is told all along.",
        tests=(
            f"{FAILURE}::test_a_ready_server_that_hangs_is_said_and_given_to_no_caller",
            f"{FAILURE}::test_a_server_that_hangs_leaves_by_force_and_for_others",
            f"{FAULTS}::test_an_nginx_worker_that_stands_still_holds_up_no_unload",
            f"{DOCKER}::test_docker_hangs_the_daemon_does_not",
            f"{ENGINE}::test_a_hanging_engine_costs_its_deadline_and_nothing_else",
        ),
        simulated=True,
    ),
    InjectedFault(
        number=3,
        name="wall_clock_jump",
        promise="Where the wall clock is set by an hour, a day or from 1970, forward or back, while the "
        "daemon runs or not, durations stay, instants are told by it as it is, jobs go on, and the "
        "audit log keeps its order.",
        tests=(
            WALL_CLOCK,
            "tests/unit/daemon/test_clock.py",
            f"{TIMERS}::test_jobs_go_on_when_the_wall_clock_is_set_back",
            f"{TIMERS}::test_a_wall_clock_that_is_set_by_days_delays_no_turn",
        ),
        always=True,
    ),
    InjectedFault(
        number=4,
        name="suspend_resume",
        promise="After a sleep of the machine nobody is evicted by what was known before it.",
        tests=(DAYS,),
        simulated=True,
    ),
    InjectedFault(
        number=5,
        name="nth_registry_write",
        promise="Whichever write or sync of the registry fails: what was acknowledged is there, the "
        "file is whole, the daemon goes on.",
        tests=(
            "tests/contracts/test_registry_disk.py",
            f"{SQLITE}::test_a_disk_that_refuses_is_told_and_the_same_connection_goes_on",
            f"{SQLITE}::test_nobody_fails_for_a_full_disk_and_everything_is_written_when_it_recovers",
        ),
        simulated=True,
        always=True,
    ),
    InjectedFault(
        number=6,
        name="kill9_at_every_effect",
        promise="Killed at any step it finds the same servers again: none twice, none forgotten.",
        tests=(
            f"{OURSELVES}::test_sigkill_daemon_then_adopt",
            f"{OURSELVES}::test_sigkill_at_every_step_of_a_load",
            f"{OURSELVES}::test_sigkill_at_every_step_of_an_eviction",
            f"{OURSELVES}::test_sigkill_at_every_step_of_an_unload",
            f"{OURSELVES}::test_kill_after_the_answer_loses_nothing",
            f"{SQLITE}::test_kill_9_in_the_middle_of_writing_loses_nothing_that_was_acknowledged",
            "tests/scenarios/test_audit.py::test_acts_are_lines_that_follow_one_another_over_a_kill",
            DAYS,
        ),
        simulated=True,
        always=True,
    ),
    InjectedFault(
        number=7,
        name="slow_fsync",
        promise="A disk that takes 1.5 s delays those alone who are promised something.",
        tests=(
            f"{OURSELVES}::test_slow_fsync_delays_nobody",
            f"{FAULTS}::test_a_slow_audit_disk_delays_admins_alone",
            f"{COMMITS}::test_a_slow_disk_delays_its_writers_together_and_the_loop_not_at_all",
        ),
        simulated=True,
        always=True,
    ),
    InjectedFault(
        number=8,
        name="corrupt_registry",
        promise="A registry that is cut, garbled, newer or gone is named; servers are found by their "
        "marks and never removed for it.",
        tests=(
            DATABASE,
            "tests/unit/registry/test_runs.py",
            f"{OURSELVES}::test_models_are_found_again_without_their_registry",
            f"{OURSELVES}::test_registry_lost_and_servers_named",
        ),
        simulated=True,
    ),
    InjectedFault(
        number=9,
        name="fd_exhaustion",
        promise="Without descriptors callers are refused in words, health answers on its own listener, "
        "and it recovers.",
        tests=(
            "tests/scenarios/test_descriptors.py",
            f"{HEALTH}::test_a_loop_that_hangs_is_said_while_it_hangs",
            f"{HEALTH}::test_who_says_nothing_drips_or_talks_nonsense_keeps_nobody_out",
        ),
        always=True,
    ),
    InjectedFault(
        number=10,
        name="idle_connections",
        promise="Ten thousand connections that say nothing delay neither health nor a chat.",
        tests=(f"{FAULTS}::test_idle_connections_delay_nobody",),
    ),
    InjectedFault(
        number=11,
        name="memory_pressure",
        promise="With 256 MB it refuses in words what it has no memory for, and is not killed: no "
        "body, head, log or answer is held without a bound.",
        tests=(
            "tests/scenarios/test_memory_pressure.py",
            "tests/scenarios/test_bad_input.py",
            LOGS,
            f"{FAULTS}::test_bodies_of_all_who_wait_are_bounded_together",
        ),
    ),
    InjectedFault(
        number=12,
        name="disk_full",
        promise="Full disks of the registry, the audit log and the logs stop nothing that runs; a "
        "download says why it pauses.",
        tests=(
            f"{FAILURE}::test_disk_full_registry",
            "tests/scenarios/test_audit.py::test_audit_disk_full",
            f"{LOGS}::test_a_full_disk_is_freed_though_lines_are_lost",
            "tests/unit/hub/test_transfer.py",
        ),
    ),
    InjectedFault(
        number=13,
        name="docker_gone",
        promise="An engine or guard that is absent, refuses, hangs or restarts, and containers that "
        "people touch: what runs stays charged, and nothing is doubled.",
        tests=(
            ENGINE,
            f"{DOCKER}::test_an_engine_that_is_not_there_is_no_reason_not_to_start",
            f"{DOCKER}::test_a_stop_by_hand_is_noticed_at_once_and_the_next_wish_loads_anew",
            f"{DOCKER}::test_a_restart_by_hand_is_the_same_resident_again",
            f"{DOCKER}::test_a_missing_image_is_named_with_its_command_and_nobody_leaves",
            "tests/unit/runtimes/docker/test_runtime.py",
        ),
        simulated=True,
    ),
    InjectedFault(
        number=14,
        name="device",
        promise="A device that is unreadable, lost, late or full of others' bytes is fenced, and "
        "nobody leaves for it in vain.",
        tests=(
            f"{FAILURE}::test_nvml_unreadable_is_null_not_zero",
            f"{FAILURE}::test_gpu_lost_is_fenced",
            "tests/scenarios/test_room.py",
            "tests/unit/devices",
        ),
        simulated=True,
    ),
    InjectedFault(
        number=15,
        name="resident",
        promise="A server that exits, runs out of memory, dies in a request, ignores SIGTERM or "
        "answers garbage is named with its cause.",
        tests=(FAILURE, "tests/unit/gateway/test_answer_reader.py"),
        simulated=True,
    ),
    InjectedFault(
        number=16,
        name="edge",
        promise="nginx that is reloaded, killed or left behind carries again, and no count stays.",
        tests=(
            f"{PLANE}::test_a_worker_that_is_killed_takes_its_counts_along",
            f"{PLANE}::test_nginx_started_anew_is_told_again",
            f"{PLANE}::test_a_reload_keeps_routes_and_what_is_under_way",
            f"{PLANE}::test_routes_outlive_the_daemon_and_a_successor_adopts_routes_and_counts",
            f"{PLANE}::test_one_that_was_left_behind_is_taken_over",
            "tests/scenarios/test_edge.py::test_routes_survive_daemon_kill",
            "tests/scenarios/test_edge.py::test_routes_survive_nginx_too_while_the_daemon_is_dead",
        ),
    ),
    InjectedFault(
        number=17,
        name="two_daemons",
        promise="A second daemon on one state directory ends, naming the first.",
        tests=(
            f"{OURSELVES}::test_two_daemons_one_registry",
            "tests/unit/registry/test_lock.py",
        ),
    ),
    InjectedFault(
        number=18,
        name="upgrade_downgrade",
        promise="While models serve, an older version is replaced by this one and comes back: the "
        "same servers, leases, keys and audit log. A newer registry is refused untouched.",
        tests=(
            "tests/scenarios/test_older_version.py",
            "tests/unit/registry/test_migrations.py",
            f"{SQLITE}::test_reads_what_version_1_has_written",
            f"{OURSELVES}::test_registry_of_a_newer_version",
        ),
        open="Swapped in full clones alone, where tests/tools/older_version.sh was run: CI has no "
        "history.",
    ),
    InjectedFault(
        number=19,
        name="signal_storm",
        promise="Signals in any number, during a load and an end, end it once and cleanly.",
        tests=(
            f"{FAULTS}::test_a_storm_of_signals_ends_it_once_and_cleanly",
            f"{OURSELVES}::test_shutdown_is_clean",
            SHUTDOWN,
        ),
    ),
    InjectedFault(
        number=20,
        name="thread_starvation",
        promise="Where all calls to Docker hang, devices, registry and HTTP have threads of their "
        "own.",
        tests=(
            f"{DOCKER}::test_docker_hangs_the_daemon_does_not",
            "tests/unit/devices/test_driver_thread.py",
        ),
    ),
    InjectedFault(
        number=21,
        name="slow_reader",
        promise="A listener that reads nothing is dropped or caught up, and holds up nobody.",
        tests=(
            f"{FEED}::test_slow_listener_gets_a_new_snapshot_and_nothing_twice",
            f"{SHUTDOWN}::test_a_client_that_takes_no_answer_does_not_hold_up_the_end",
        ),
    ),
    InjectedFault(
        number=22,
        name="buggify",
        promise="Days in virtual time, in which a third of all faults is on by the seed; one that "
        "found something is kept and lived through first.",
        tests=("tests/simulation/test_busy_day.py",),
        simulated=True,
    ),
)
