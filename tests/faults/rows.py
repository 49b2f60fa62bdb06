"""Faults that must be survived, by the numbers of the design's table, and the tests that show it.

Nothing here loads data in worker processes, so rows 2 and 3 concern the ranks alone.
"""

ROWS: dict[int, tuple[str, ...]] = {
    # SIGKILL at each numbered file operation
    1: (
        "tests/faults/test_sweep.py::test_every_operation_of_a_writer_may_fail",
        "tests/upkeep/test_tombstones.py::test_a_kill_at_any_file_operation",
        "tests/faults/test_schedule.py::test_every_fault_and_every_phase",
        "tests/faults/test_schedule.py::test_a_thousand_faults",
    ),
    # USR2 in the middle of an epoch
    2: (
        "tests/faults/test_signals.py::test_a_signal_saves_within_one_step",
        "tests/system/test_evaluation.py::test_a_signal_ends_an_attack_in_the_middle_of_a_batch",
    ),
    # SIGTERM
    3: (
        "tests/faults/test_signals.py::test_a_signal_saves_within_one_step",
        "tests/system/test_local_line.py::test_term_to_a_packed_job_starts_no_further_cell",
        "tests/system/test_local_line.py::test_ctrl_c_in_the_foreground_saves_and_ends",
    ),
    # kill -9 of one rank of two
    4: (
        "tests/faults/test_signals.py::test_one_rank_of_two_dies",
        "tests/system/test_evaluation.py::test_a_rank_that_dies_leaves_what_both_have_finished",
        "tests/system/test_evaluation.py::test_a_killed_attack_goes_on_where_it_was",
        "tests/system/test_holds.py::test_a_killed_rank_heals_by_itself_to_the_same_bits",
    ),
    # kill -9 of the torchrun agent
    5: ("tests/system/test_local_line.py::test_ranks_die_with_their_agent_even_while_they_start",),
    # two attempts of one training alive
    6: (
        "tests/faults/test_signals.py::test_an_attempt_that_was_overtaken_stops",
        "tests/faults/test_signals.py::test_an_attempt_that_slept_through_its_successor",
        "tests/test_attempts.py::test_a_younger_attempt_fences_an_older_one",
        "tests/running/test_task.py::test_a_living_attempt_is_an_obstacle",
        "tests/running/test_partial.py::test_a_superseded_attempt_may_lose_its_file",
    ),
    # full disk during a save
    7: (
        "tests/test_checkpoint.py::test_a_full_disk_leaves_the_old_one_and_no_rubbish",
        "tests/faults/test_schedule.py::test_every_fault_and_every_phase",
    ),
    # a bit flipped in the newest checkpoint
    8: (
        "tests/test_checkpoint.py::test_a_flipped_bit_is_refused_and_the_one_before_used",
        "tests/faults/test_schedule.py::test_every_fault_and_every_phase",
    ),
    # the newest checkpoint truncated, without COMPLETE, of length 0
    9: (
        "tests/test_checkpoint.py::test_what_is_not_whole_is_passed_over",
        "tests/faults/test_schedule.py::test_every_fault_and_every_phase",
    ),
    # a torn last line, a stray temporary file
    10: (
        "tests/test_files.py::test_a_torn_last_line_is_passed_over",
        "tests/test_files.py::test_a_torn_line_does_not_swallow_the_next",
        "tests/running/test_partial.py::test_a_torn_last_line_is_passed_over",
        "tests/planning/test_index.py::test_a_torn_index_is_read_as_far_as_it_goes",
        "tests/analysis/collecting/test_collect.py::test_files_in_the_making_and_strangers_are_no_trainings",
        "tests/analysis/collecting/test_collect.py::test_torn_files_are_skipped_with_a_warning",
        "tests/faults/test_schedule.py::test_every_fault_and_every_phase",
    ),
    # the launcher killed between sbatch's yes and the record of the id
    11: (
        "tests/dispatch/queueing/test_queueing.py::test_a_job_that_its_launcher_could_not_record_is_adopted",
        "tests/dispatch/queueing/test_queueing.py::test_a_job_that_only_its_claim_knows_is_adopted",
        "tests/slurm/test_limits.py::test_a_job_whose_launcher_died_is_adopted",
    ),
    # sbatch, squeue, sacct fail, hang or say nothing
    12: (
        "tests/dispatch/test_scheduler.py::test_nothing_is_concluded_from_a_silent_controller",
        "tests/dispatch/test_scheduler.py::test_one_fault_of_squeue_is_tried_again",
        "tests/dispatch/test_scheduler.py::test_a_silent_sacct_leaves_the_answer_of_squeue",
        "tests/dispatch/queueing/test_queueing.py::test_after_a_doubtful_answer_the_job_is_looked_up",
        "tests/dispatch/queueing/test_queueing.py::test_an_sbatch_that_hangs_is_ended",
        "tests/dispatch/queueing/test_queueing.py::test_nothing_is_sent_again_while_the_controller_is_silent",
        "tests/dispatch/test_unclaimed.py::test_silence_is_no_death",
    ),
    # the collector killed at each step; two collectors
    13: (
        "tests/analysis/collecting/test_collect.py::test_a_collector_that_is_killed_before_it_writes_changes_nothing",
        "tests/faults/test_collectors.py::test_a_collector_may_fail_at_any_operation",
        "tests/faults/test_collectors.py::test_collectors_at_once_leave_whole_tables",
        "tests/faults/test_schedule.py::test_every_fault_and_every_phase",
    ),
    # stale listings, clocks off by an hour, a rename that reports a false error
    14: (
        "tests/faults/test_stale.py::test_records_that_a_listing_hides_are_only_late",
        "tests/faults/test_stale.py::test_an_attempt_number_that_a_listing_hides_is_not_taken_again",
        "tests/faults/test_stale.py::test_a_submission_that_a_listing_hides_keeps_its_number",
        "tests/faults/test_stale.py::test_a_clock_that_is_off_by_an_hour_sends_nothing_twice",
        "tests/faults/test_sweep.py::test_every_operation_of_a_writer_may_fail",
        "tests/test_files.py::test_a_link_that_worked_but_said_no_counts",
        "tests/test_files.py::test_a_rename_that_worked_but_said_no_counts",
        "tests/dispatch/test_unclaimed.py::test_a_claim_that_shows_up_late_undoes_the_count",
        "tests/dispatch/test_unclaimed.py::test_a_skip_that_shows_up_late_undoes_doing_nothing",
    ),
    # NaN loss, crash of an attack, out of memory, data set missing
    15: (
        "tests/system/test_local_line.py::test_a_failing_cell_says_why_and_is_not_tried_again",
        "tests/faults/test_signals.py::test_errors_of_some_cells_leave_the_others",
        "tests/system/test_datasets.py::test_a_damaged_data_set_ends_in_3_and_waits_for_other_files",
        "tests/snnlib/test_train.py::test_nan_loss_names_the_step",
    ),
    # on a real SLURM
    16: (
        "tests/slurm/test_line.py::test_a_requeued_job_goes_on_from_its_checkpoint",
        "tests/slurm/test_line.py::test_cancel_and_resume",
        "tests/slurm/test_scheduler_real.py::test_a_time_limit",
        "tests/slurm/test_scheduler_real.py::test_a_silent_controller",
        "tests/slurm/test_cluster.py::test_a_killed_node_takes_its_jobs_with_it",
        "tests/slurm/test_cluster.py::test_a_job_lives_on_when_the_controller_is_killed",
        "tests/slurm/test_limits.py::test_a_controller_that_is_away_loses_nothing",
        "tests/slurm/test_holds_real.py::test_a_killed_rank_has_its_task_of_the_array_requeued",
    ),
}
