<?php
// SPDX-License-Identifier: Apache-2.0
// What mod_counter.c does, for the session handlers of PHP. The act is the last part of the path.
$act = basename(strtok($_SERVER['REQUEST_URI'], '?'));
$arguments = explode('&', $_SERVER['QUERY_STRING'] ?? '');
$page = str_repeat('x', 1024);
header('Content-Type: text/plain');
if (strpos($_SERVER['REQUEST_URI'], '/none/') === 0) {
    echo $page;
    return;
}
ob_start();
if (!@session_start()) {
    http_response_code(503);
    echo 'session_start failed';
    return;
}
switch ($act) {
    case 'read':
        echo strlen($_SESSION['data'] ?? '') >= 16 ? $page : http_response_code(410);
        break;
    case 'write':
        $_SESSION['data'] = substr(str_pad(getmypid() . '-' . hrtime(true) . '-', 1024, 'x'), 0, 1024);
        echo $page;
        break;
    case 'add':
        $number = (int)($_SESSION[$arguments[0]] ?? 0);
        usleep(1000 * (int)($arguments[1] ?? 0));
        $_SESSION[$arguments[0]] = (string)($number + 1);
        echo $number + 1;
        break;
    case 'end':
        session_destroy();
        echo 'ended';
        return;
    case 'all':
        foreach ($_SESSION as $key => $value) {
            echo "$key=$value\n";
        }
        break;
}
if (!@session_write_close()) {
    http_response_code(500);
}
