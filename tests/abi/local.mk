# The plugin ABI as numbers against its baseline.
check_PROGRAMS += tests/abi/layout
tests_abi_layout_SOURCES = tests/abi/layout.c
dist_check_SCRIPTS += tests/abi/check tests/abi/check-check
TESTS += tests/abi/check tests/abi/check-check
EXTRA_DIST += tests/abi/plugin-abi.txt

# What libhearth exports.
dist_check_SCRIPTS += tests/abi/library tests/abi/library-check
EXTRA_DIST += tests/abi/libhearth.abi
if !STATIC_PLUGINS
TESTS += tests/abi/library tests/abi/library-check
endif
