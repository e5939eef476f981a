noinst_HEADERS += lib/image/fs_image.h
