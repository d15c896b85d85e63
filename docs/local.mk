dist_man_MANS += \
	docs/man/hearth.1 \
	docs/man/hearth-bench.1 \
	docs/man/hearth-chat.1 \
	docs/man/hearth-config.1 \
	docs/man/hearth-devices.1 \
	docs/man/hearth-eval-passkey.1 \
	docs/man/hearth-eval-ppl.1 \
	docs/man/hearth-inspect.1 \
	docs/man/hearth-plan.1 \
	docs/man/hearth-plugin-check.1 \
	docs/man/hearth-run.1 \
	docs/man/hearth-version.1 \
	docs/man/hearth.yaml.5

EXTRA_DIST += docs/plugins.md docs/numerics.md docs/tour.md
