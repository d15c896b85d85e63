noinst_LTLIBRARIES += core/config/libconfig.la
core_config_libconfig_la_SOURCES =
