noinst_LTLIBRARIES += core/exec/libexec.la
core_exec_libexec_la_SOURCES = \
	core/exec/exec.c core/exec/exec.h core/exec/exec_internal.h \
	core/exec/experts.c \
	core/exec/lane.c \
	core/exec/lend.c
