# Measurements by hand, not part of `make check`.
EXTRA_PROGRAMS = bench/plugin-bench
CLEANFILES += bench/plugin-bench
bench_plugin_bench_SOURCES = bench/plugin_bench.c
