# net_smtp.pl SENDER RECIPIENT PORT...: the file "message" to each port.
use strict;
use warnings;
use Net::SMTP;

my ($sender, $recipient, @ports) = @ARGV;
open my $file, '<:raw', 'message' or die $!;
my @lines = <$file>;
for my $port (@ports) {
    my $smtp = Net::SMTP->new('127.0.0.1', Port => $port, Timeout => 30) or die $@;
    $smtp->mail($sender, Bits => 8) && $smtp->to($recipient) && $smtp->data(@lines)
        or die $smtp->message;
    $smtp->quit;
}
