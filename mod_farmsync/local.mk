include mod_farmsync/agent/local.mk
