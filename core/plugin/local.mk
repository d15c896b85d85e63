noinst_LTLIBRARIES += core/plugin/libplugin.la
core_plugin_libplugin_la_SOURCES = \
	core/plugin/loader.c core/plugin/loader.h \
	core/plugin/plugin_set.c core/plugin/plugin_set.h core/plugin/running.c core/plugin/running.h
core_plugin_libplugin_la_CPPFLAGS = $(AM_CPPFLAGS) -DHEARTH_PLUGINDIR='"$(plugindir)"'
