<?php
// phpmailer.php LIBRARY SENDER RECIPIENT PORT...: one message to each port, made anew each time.
[, $library, $sender, $recipient] = $argv;
require $library;

class Pinned extends PHPMailer\PHPMailer\PHPMailer
{
    protected function generateId()
    {
        return 'next';
    }
}

foreach (array_slice($argv, 4) as $port) {
    $mail = new Pinned(true);
    $mail->isSMTP();
    $mail->Host = '127.0.0.1';
    $mail->Port = $port;
    $mail->SMTPAutoTLS = false;
    $mail->CharSet = 'utf-8';
    $mail->MessageDate = 'Thu, 1 Oct 2026 10:11:12 +0200';
    $mail->MessageID = '<1.php@acme.example>';
    $mail->setFrom($sender, 'Jörg');
    $mail->addAddress($recipient);
    $mail->Subject = 'Grüße';
    $mail->Body = file_get_contents('body');
    $mail->addStringAttachment(file_get_contents('octets.bin'), 'octets.bin');
    $mail->send();
}
