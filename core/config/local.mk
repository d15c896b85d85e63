noinst_LTLIBRARIES += core/config/libconfig.la
core_config_libconfig_la_SOURCES = \
	core/config/config.c core/config/config.h \
	core/config/dump.c \
	core/config/schema.c core/config/schema.h \
	core/config/yaml.c
core_config_libconfig_la_CPPFLAGS = $(AM_CPPFLAGS) \
	-DHEARTH_DATADIR='"$(pkgdatadir)"' -DHEARTH_SYSCONFDIR='"$(sysconfdir)"'
core_config_libconfig_la_CFLAGS = $(AM_CFLAGS) $(YAML_CFLAGS) $(JSONC_CFLAGS)
core_config_libconfig_la_LIBADD = $(YAML_LIBS) $(JSONC_LIBS)
