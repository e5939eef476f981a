/* SPDX-License-Identifier: Apache-2.0 */
/*
 * datasrv: promotes, builds images and serves them. This file reads the command line and stops
 * there; server.c is the program.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <config.h>

#include "server.h"

#define DEFAULT_CONFIG FS_SYSCONFDIR "/farmsync/datasrv.conf"

static const char help[] =
    "Usage: datasrv [OPTION]...\n"
    "The farmsync data server: promotes the groups of a farm when they are due, builds the\n"
    "images of their datasets and serves them to the web servers' agents.\n\n"
    "  -c, --config=FILE   configuration file [" DEFAULT_CONFIG "]\n"
    "  -t, --check         only check the configuration and what it names; 0 if all is well\n"
    "  -f, --foreground    stay in the foreground (the default)\n"
    "  -d, --daemon        go to the background once ready; needs a PidFile\n"
    "  -h, --help          this text\n"
    "  -V, --version       release\n\n"
    "SIGHUP reloads the configuration, SIGTERM and SIGINT stop. See datasrv(8).\n";

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"check", no_argument, NULL, 't'},
                                            {"foreground", no_argument, NULL, 'f'},
                                            {"daemon", no_argument, NULL, 'd'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'V'},
                                            {NULL, 0, NULL, 0}};
    const char *config = DEFAULT_CONFIG;
    int option, check = 0, background = 0;

    while ((option = getopt_long(argc, argv, "c:tfdhV", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            config = optarg;
            break;
        case 't':
            check = 1;
            break;
        case 'f':
            background = 0;
            break;
        case 'd':
            background = 1;
            break;
        case 'h':
            fputs(help, stdout);
            return EXIT_SUCCESS;
        case 'V':
            puts("datasrv (farmsync) " PACKAGE_VERSION);
            return EXIT_SUCCESS;
        default:
            fputs("datasrv --help lists the options\n", stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "datasrv: what is \"%s\"? A configuration file is given with --config\n",
                argv[optind]);
        return 2;
    }
    return check ? fs_server_check(config) : fs_server_run(config, background);
}
