noinst_HEADERS += lib/control/fs_control.h
