check_PROGRAMS += tests/tools/make_images
tests_tools_make_images_SOURCES = tests/tools/make_images.c
tests_tools_make_images_LDADD = lib/image/libfs_image.la lib/base/libfs_base.la
dist_check_SCRIPTS += tests/tools/test_image_tool.sh
TESTS += tests/tools/test_image_tool.sh
