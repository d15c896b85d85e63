confdir = $(docdir)/conf
dist_conf_DATA = conf/README.md conf/hearth.yaml
confmachinesdir = $(docdir)/conf/machines
dist_confmachines_DATA = \
	conf/machines/laptop.yaml \
	conf/machines/server.yaml \
	conf/machines/workstation.yaml
