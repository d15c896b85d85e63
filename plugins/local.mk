# One module for each backend: hearth-<name>.so exports hearth_plugin_<name> and nothing else.
if BUILD_REF
if STATIC_PLUGINS
STATIC_PLUGIN_LIBS += backends/ref/libref.la
else
plugin_LTLIBRARIES += hearth-ref.la
endif
endif
hearth_ref_la_SOURCES =
hearth_ref_la_LIBADD = backends/ref/libref.la backends/host/libhost.la
hearth_ref_la_LDFLAGS = $(PLUGIN_LDFLAGS) -export-symbols-regex '^hearth_plugin_'

if BUILD_CPU
if STATIC_PLUGINS
STATIC_PLUGIN_LIBS += backends/cpu/libcpu.la
else
plugin_LTLIBRARIES += hearth-cpu.la
endif
endif
hearth_cpu_la_SOURCES =
hearth_cpu_la_LIBADD = backends/cpu/libcpu.la backends/host/libhost.la
hearth_cpu_la_LDFLAGS = $(PLUGIN_LDFLAGS) -export-symbols-regex '^hearth_plugin_'

# A driver leaves threads of its own behind: what has been loaded stays (nodelete).
if BUILD_OPENCL
if STATIC_PLUGINS
STATIC_PLUGIN_LIBS += backends/opencl/libopencl.la
else
plugin_LTLIBRARIES += hearth-opencl.la
endif
endif
hearth_opencl_la_SOURCES =
hearth_opencl_la_LIBADD = backends/opencl/libopencl.la backends/host/libcheck.la
hearth_opencl_la_LDFLAGS = $(PLUGIN_LDFLAGS) -Wl,-z,nodelete -export-symbols-regex '^hearth_plugin_'

# Behind the backends that use it: the linker takes from an archive what those before it lack.
if STATIC_PLUGINS
STATIC_PLUGIN_LIBS += backends/host/libhost.la
endif

# For strangers to copy; built and checked by tests/installed/run.
templatedir = $(docdir)/template
dist_template_DATA = plugins/template/Makefile plugins/template/expert.c plugins/template/plugin.c plugins/template/template.h
