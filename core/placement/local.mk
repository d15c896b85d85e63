noinst_LTLIBRARIES += core/placement/libplacement.la
core_placement_libplacement_la_SOURCES = \
	core/placement/admit.c \
	core/placement/parts.c core/placement/parts.h \
	core/placement/plan.c core/placement/plan.h core/placement/plan_internal.h \
	core/placement/ranges.c \
	core/placement/report.c \
	core/placement/state_size.c core/placement/state_size.h
core_placement_libplacement_la_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS)
