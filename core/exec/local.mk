noinst_LTLIBRARIES += core/exec/libexec.la
core_exec_libexec_la_SOURCES =
