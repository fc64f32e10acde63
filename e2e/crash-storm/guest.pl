#!/usr/bin/perl
# Stands in for a VMM and its guest where only their lives matter: attaches to the slot's tap as a VMM does, and is on the
# other side of it a machine that answers ARP and speaks as much TCP and HTTP as envd's health and init need. Perl, since
# it starts in 5 ms and every Debian has it.
use strict;
use warnings;
use Fcntl qw(O_RDWR);

use constant { GUEST => "\xa9\xfe\x00\x15", MAC => "\x02\x00\x00\x00\x00\x01", PORT => 49983 };
# linux/if_tun.h
use constant { TUNSETIFF => 0x400454ca, IFF_TAP => 0x0002, IFF_NO_PI => 0x1000 };
# RFC 9293, section 3.1
use constant { FIN => 1, SYN => 2, RST => 4, PSH => 8, ACK => 16 };
use constant ANSWER => "HTTP/1.1 204 No Content\r\n\r\n";

sysopen(my $tap, '/dev/net/tun', O_RDWR) or die "tun: $!";
my $request = pack('a16 s x22', 'tap0', IFF_TAP | IFF_NO_PI);
ioctl($tap, TUNSETIFF, $request) or die "tap0: $!";

my %connections;
while (sysread($tap, my $frame, 65_536)) {
    my ($to, $from, $type, $packet) = unpack('a6 a6 n a*', $frame);
    if ($type == 0x0806) { arp($from, $packet) }
    elsif ($type == 0x0800) { ip($from, $packet) }
}

sub arp {
    my ($mac, $packet) = @_;
    my ($fixed, $operation, $sender, $sender_ip, $ip) = unpack('a6 n a6 a4 x6 a4', $packet);
    return unless $operation == 1 && $ip eq GUEST;
    syswrite($tap, pack('a6 a6 n a6 n a6 a4 a6 a4', $mac, MAC, 0x0806, $fixed, 2, MAC, GUEST, $sender, $sender_ip));
}

sub ip {
    my ($mac, $packet) = @_;
    my ($version, $length, $protocol, $from, $to) = unpack('C x n x5 C x2 a4 a4', $packet);
    return unless $protocol == 6 && $to eq GUEST;
    my $segment = substr($packet, 4 * ($version & 15), $length - 4 * ($version & 15));
    my ($port, $own, $seq, $ack, $offset, $flags) = unpack('n n N N C C', $segment);
    my $data = substr($segment, 4 * ($offset >> 4));
    my %peer = (mac => $mac, ip => $from, port => $port);
    my $key = "$from$port";
    if ($flags & RST) {
        delete $connections{$key};
        return;
    }
    if ($flags & SYN) {
        $connections{$key} = { next => $seq + 1, own => 1, received => '' };
        tcp(\%peer, 0, $seq + 1, SYN | ACK);
        return;
    }
    my $connection = $connections{$key};
    if (!$connection || $own != PORT) {
        tcp(\%peer, $ack, 0, RST);
        return;
    }
    if ($seq != $connection->{next}) { # seen before
        tcp(\%peer, $connection->{own}, $connection->{next}, ACK);
        return;
    }
    $connection->{next} = ($seq + length $data) & 0xffffffff;
    $connection->{received} .= $data;
    my $answer = '';
    while ($connection->{received} =~ /\A(.*?\r\n\r\n)/s) {
        my $head = $1;
        my ($body) = $head =~ /content-length: (\d+)/i;
        my $whole = length($head) + ($body // 0);
        last if length($connection->{received}) < $whole;
        substr($connection->{received}, 0, $whole) = '';
        $answer .= ANSWER;
    }
    my $end = $flags & FIN;
    $connection->{next} = ($connection->{next} + 1) & 0xffffffff if $end;
    if ($answer ne '' || $data ne '' || $end) {
        tcp(\%peer, $connection->{own}, $connection->{next}, ACK | ($answer ne '' ? PSH : 0) | $end, $answer);
    }
    $connection->{own} += length($answer) + $end;
    delete $connections{$key} if $end;
}

sub tcp {
    my ($peer, $seq, $ack, $flags, $data) = (@_, '');
    my $head = pack('n n N N C C n x2 x2', PORT, $peer->{port}, $seq, $ack & 0xffffffff, 5 << 4, $flags, 65_535);
    my $pseudo = pack('a4 a4 C C n', GUEST, $peer->{ip}, 0, 6, length("$head$data"));
    substr($head, 16, 2) = pack('n', checksum("$pseudo$head$data"));
    my $ip = pack('C x n x4 C C x2 a4 a4', 0x45, 40 + length $data, 64, 6, GUEST, $peer->{ip});
    substr($ip, 10, 2) = pack('n', checksum($ip));
    syswrite($tap, pack('a6 a6 n', $peer->{mac}, MAC, 0x0800) . $ip . $head . $data);
}

# RFC 1071
sub checksum {
    my ($bytes) = @_;
    my $sum = unpack('%32n*', $bytes . (length($bytes) % 2 ? "\0" : ''));
    $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
    return ~$sum & 0xffff;
}
