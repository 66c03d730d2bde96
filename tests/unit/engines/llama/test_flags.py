from orchestrator.engines.llama.flags import parse_help

HELP = """\
----- common params -----

-h,    --help, --usage                  print usage and exit
-t,    --threads N                      number of CPU threads (default: -1)
                                        (env: LLAMA_ARG_THREADS)
-fa,   --flash-attn [on|off|auto]       set Flash Attention use
-kvu,  --kv-unified, -no-kvu, --no-kv-unified
                                        use single unified KV buffer
--spec-draft-type-k, -ctkd, --cache-type-k-draft TYPE
                                        - auto: on, but only for
--poll <0...100>                        use polling level
"""


def test_every_spelling_is_known():
    flags = parse_help(HELP)
    assert {"-t", "--threads", "-no-kvu", "--no-kv-unified", "-ctkd"} <= flags.names
    assert "--no-such-flag" not in flags


def test_flags_that_take_a_value_are_told_apart():
    flags = parse_help(HELP)
    assert {
        "-t",
        "--threads",
        "-fa",
        "--flash-attn",
        "--poll",
        "--spec-draft-type-k",
    } <= flags.valued
    assert not {"-h", "--usage", "--kv-unified"} & flags.valued


def test_words_of_the_explanations_are_no_flags():
    assert not {"-----", "-1", "-"} & parse_help(HELP).names


def test_older_builds_had_flash_attention_without_a_value():
    flags = parse_help(
        "-fa,   --flash-attn                     enable Flash Attention (default: off)\n"
    )
    assert "-fa" in flags
    assert "-fa" not in flags.valued


def test_the_first_accepted_spelling_wins():
    flags = parse_help("--webui, --no-webui                     whether to enable the Web UI\n")
    assert flags.first("--no-ui", "--no-webui") == "--no-webui"
    assert flags.first("--no-ui") is None


def test_something_else_entirely_has_no_flags():
    assert parse_help("hello\n").names == frozenset()


def test_a_word_that_is_no_flag_is_found_and_a_value_is_none():
    flags = parse_help(HELP)
    assert flags.unknown(("--threads", "-x", "--poll", "0", "--flash_attn", "on")) is None
    assert flags.unknown(("--threads", "4", "--new-flag", "1")) == "--new-flag"


def test_lists_of_names_with_numbers_are_told_from_two_values():
    newer = (
        "--lora-scaled FNAME:SCALE,...           path to LoRA adapter with user defined scaling\n"
    )
    older = (
        "--lora-scaled FNAME SCALE               path to LoRA adapter with user defined scaling\n"
    )
    assert "--lora-scaled" in parse_help(newer).listing
    assert "--lora-scaled" in parse_help(newer).valued
    assert "--lora-scaled" not in parse_help(older).listing
