# The conformance suite.  Without --plugin it checks the reference, which is linked in.
if BUILD_REF
check_PROGRAMS += tests/kernels/check-kernels
TESTS += tests/kernels/check-kernels
endif
tests_kernels_check_kernels_SOURCES = tests/kernels/check_kernels.c
tests_kernels_check_kernels_LDADD = core/conformance/libconformance.la core/plugin/libplugin.la core/config/libconfig.la \
	core/base/libbase.la $(STATIC_PLUGIN_LIBS) backends/ref/libref.la backends/host/libhost.la

# The x86-64 backend, tier by tier.
EXTRA_DIST += tests/kernels/cpu-tiers
if BUILD_REF
if BUILD_CPU
if !STATIC_PLUGINS
TESTS += tests/kernels/cpu-tiers
endif
endif
endif

# What it runs together, against the same one by one.
if BUILD_CPU
if HAVE_CHECK
check_PROGRAMS += tests/kernels/head_test tests/kernels/joint_test
TESTS += tests/kernels/head_test tests/kernels/joint_test
endif
endif
tests_kernels_head_test_SOURCES = tests/kernels/head_test.c
tests_kernels_head_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_kernels_head_test_LDADD = backends/cpu/libcpu.la backends/host/libhost.la $(CHECK_LIBS) $(MATH_LIBS)
tests_kernels_joint_test_SOURCES = tests/kernels/joint_test.c tests/kernels/joint_rig.c tests/kernels/joint_rig.h
tests_kernels_joint_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) -DJOINT_PLUGIN=hearth_plugin_cpu
tests_kernels_joint_test_LDADD = backends/cpu/libcpu.la backends/host/libhost.la $(CHECK_LIBS)

# Its kernels for AMX, with the tile instructions in C: for processors that have none.
if BUILD_CPU
if HAVE_CHECK
check_LTLIBRARIES += tests/kernels/libtiles.la
check_PROGRAMS += tests/kernels/tiles_test tests/kernels/tile_panels_test
TESTS += tests/kernels/tiles_test tests/kernels/tile_panels_test
endif
endif
tests_kernels_libtiles_la_SOURCES = $(CPU_KERNELS) $(CPU_TILE_KERNELS) tests/kernels/soft_tiles.c tests/kernels/soft_tiles.h
tests_kernels_libtiles_la_CPPFLAGS = $(AM_CPPFLAGS) -DCPU_TIER=soft -DCPU_TILES -include $(srcdir)/tests/kernels/soft_tiles.h
tests_kernels_libtiles_la_CFLAGS = $(AM_CFLAGS) $(CPU_AVX2)
tests_kernels_tiles_test_SOURCES = tests/kernels/tiles_test.c tests/kernels/tile_rig.h
tests_kernels_tiles_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_kernels_tiles_test_LDADD = tests/kernels/libtiles.la backends/cpu/libcpu.la backends/host/libhost.la $(CHECK_LIBS) \
	$(MATH_LIBS)
tests_kernels_tile_panels_test_SOURCES = tests/kernels/tile_panels_test.c tests/kernels/tile_rig.h
tests_kernels_tile_panels_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_kernels_tile_panels_test_LDADD = $(tests_kernels_tiles_test_LDADD)

# The OpenCL backend, device by device.
EXTRA_DIST += tests/kernels/opencl-suite
if BUILD_REF
if BUILD_OPENCL
if !STATIC_PLUGINS
TESTS += tests/kernels/opencl-suite
endif
endif
endif

# What it runs together, against the same one by one.
if BUILD_OPENCL
if HAVE_CHECK
check_PROGRAMS += tests/kernels/opencl_joint_test
TESTS += tests/kernels/opencl_joint_test
endif
endif
tests_kernels_opencl_joint_test_SOURCES = tests/kernels/joint_test.c tests/kernels/joint_rig.c tests/kernels/joint_rig.h
tests_kernels_opencl_joint_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) -DJOINT_PLUGIN=hearth_plugin_opencl
tests_kernels_opencl_joint_test_LDADD = backends/opencl/libopencl.la backends/host/libcheck.la $(CHECK_LIBS)

# Its kernels, compiled for GPUs that need not be there.
EXTRA_DIST += tests/kernels/opencl-forms tests/kernels/opencl-compile-amd tests/kernels/opencl-compile-intel \
	tests/kernels/opencl-compile-nvidia
if BUILD_OPENCL
TESTS += tests/kernels/opencl-compile-amd tests/kernels/opencl-compile-intel \
	tests/kernels/opencl-compile-nvidia
endif

# The reference against numbers made elsewhere.
if BUILD_REF
if HAVE_CHECK
check_PROGRAMS += tests/kernels/ref_test
TESTS += tests/kernels/ref_test
endif
endif
EXTRA_DIST += tests/golden/data/units.safetensors
tests_kernels_ref_test_SOURCES = tests/kernels/ref_test.c tests/kernels/units.c tests/kernels/units.h
tests_kernels_ref_test_CPPFLAGS = $(AM_CPPFLAGS) -DSOURCE_FOLDER='"$(abs_top_srcdir)"'
tests_kernels_ref_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(JSONC_CFLAGS)
tests_kernels_ref_test_LDADD = backends/ref/libref.la backends/host/libhost.la $(CHECK_LIBS) $(JSONC_LIBS)

# The OpenCL backend's kernels under Oclgrind: races, uninitialised values.
EXTRA_DIST += tests/kernels/opencl-races
if BUILD_REF
if BUILD_OPENCL
if !STATIC_PLUGINS
check_LTLIBRARIES += tests/kernels/grind_shim.la
TESTS += tests/kernels/opencl-races
endif
endif
endif
tests_kernels_grind_shim_la_SOURCES = tests/kernels/grind_shim.c
tests_kernels_grind_shim_la_CFLAGS = $(AM_CFLAGS) $(OPENCL_CFLAGS)
tests_kernels_grind_shim_la_LDFLAGS = -module -avoid-version -shared -rpath /nowhere

# Where the x86-64 backend's threads stand, on described machines.
if BUILD_CPU
if HAVE_CHECK
check_PROGRAMS += tests/kernels/place_test
TESTS += tests/kernels/place_test
endif
endif
tests_kernels_place_test_SOURCES = tests/kernels/place_test.c
tests_kernels_place_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(HWLOC_CFLAGS)
tests_kernels_place_test_LDADD = backends/cpu/libcpu.la backends/host/libhost.la $(HWLOC_LIBS) $(CHECK_LIBS) $(PTHREAD_LIBS)
