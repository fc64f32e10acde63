#!/usr/bin/perl
# Stands in for a VMM and its guest where only their lives matter: maps the guest's memory and answers QEMU's control
# socket as the agent's driver expects, attaches to the slot's tap, and is on the other side of it a machine that answers
# ARP and speaks as much TCP and HTTP as envd's health, init, freeze and thaw need. Perl, since it starts in 5 ms and every
# Debian has it.
#
#   guest.pl <folder> kernel|template|frozen <memory MB> <top layer of the disk>
use strict;
use warnings;
use Fcntl qw(O_RDONLY O_RDWR);
use Socket qw(AF_UNIX SOCK_STREAM pack_sockaddr_un);

use constant { GUEST => "\xa9\xfe\x00\x15", MAC => "\x02\x00\x00\x00\x00\x01", PORT => 49983 };
# linux/if_tun.h
use constant { TUNSETIFF => 0x400454ca, IFF_TAP => 0x0002, IFF_NO_PI => 0x1000 };
# RFC 9293, section 3.1
use constant { FIN => 1, SYN => 2, RST => 4, PSH => 8, ACK => 16 };
# System calls of x86-64 and their flags.
use constant { SYS_READ => 0, SYS_MMAP => 9, PROT_READ_WRITE => 3, MAP_SHARED => 1, MAP_PRIVATE => 2 };
use constant MIB => 1 << 20;
# The key of its freeze, as its memory has it: a page of its own, so that it is saved and restored like any other.
use constant { KEY_AT => 5 * MIB, KEY_BYTES => 64 };

my ($folder, $start, $memory_mb, $top_layer) = @ARGV;
# Block nodes that are open.
my %layers = ($top_layer => 1);
# As QEMU does: it lives on when the agent dies in the middle of a talk.
$SIG{PIPE} = 'IGNORE';

my $shared = $start eq 'template';
sysopen(my $file, "$folder/base.mem", $shared ? O_RDWR : O_RDONLY) or die "base.mem: $!";
my $memory = syscall(SYS_MMAP, 0, $memory_mb * MIB, PROT_READ_WRITE, $shared ? MAP_SHARED : MAP_PRIVATE, fileno($file), 0);
die "mmap: $!" if $memory == -1;
# `inmigrate`, `paused` or `running`.
my $status = $start eq 'frozen' ? 'inmigrate' : 'running';

sysopen(my $tap, '/dev/net/tun', O_RDWR) or die "tun: $!";
my $request = pack('a16 s x22', 'tap0', IFF_TAP | IFF_NO_PI);
ioctl($tap, TUNSETIFF, $request) or die "tap0: $!";

socket(my $control, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
bind($control, pack_sockaddr_un("$folder/run/qmp.sock")) or die "qmp.sock: $!";
listen($control, 8) or die "listen: $!";

my %connections;
my ($operator, $said);
while (1) {
    my $waiting = '';
    vec($waiting, fileno($control), 1) = 1 if !$operator; # one at a time
    vec($waiting, fileno($operator), 1) = 1 if $operator;
    vec($waiting, fileno($tap), 1) = 1 if $status eq 'running';
    next if select($waiting, undef, undef, undef) < 1;
    if (!$operator) {
        if (vec($waiting, fileno($control), 1) && accept(my $client, $control)) {
            ($operator, $said) = ($client, '');
            syswrite($operator, qq({"QMP":{"version":{},"capabilities":[]}}\n));
        }
    }
    elsif (vec($waiting, fileno($operator), 1)) {
        if (!sysread($operator, $said, 65_536, length $said)) {
            close $operator;
            undef $operator;
        }
        while ($operator && $said =~ s/\A(.*)\n//) { control($1) }
    }
    if ($status eq 'running' && vec($waiting, fileno($tap), 1)) {
        sysread($tap, my $frame, 65_536) or next;
        my ($to, $from, $type, $packet) = unpack('a6 a6 n a*', $frame);
        if ($type == 0x0806) { arp($from, $packet) }
        elsif ($type == 0x0800) { ip($from, $packet) }
    }
}

sub control {
    my ($line) = @_;
    my ($command) = $line =~ /"execute":"([^"]+)"/;
    my ($id) = $line =~ /"id":(\d+)/;
    my $answer = '{}';
    if ($command eq 'query-status') {
        $answer = sprintf('{"status":"%s","running":%s}', $status, $status eq 'running' ? 'true' : 'false');
    }
    elsif ($command eq 'stop') { $status = 'paused' if $status eq 'running' }
    elsif ($command eq 'cont') { $status = 'running' }
    elsif ($command eq 'migrate-incoming') { $status = 'paused' }
    elsif ($command eq 'query-migrate') { $answer = '{"status":"completed"}' }
    elsif ($command eq 'query-block') { $answer = qq([{"inserted":{"node-name":"$top_layer"}}]) }
    elsif ($command eq 'query-named-block-nodes') {
        $answer = '[' . join(',', map { qq({"node-name":"$_"}) } sort keys %layers) . ']';
    }
    elsif ($command eq 'blockdev-add') {
        my ($layer) = $line =~ /"node-name":"([^"]+)"/;
        return refuse($id, "Duplicate nodes with node-name='$layer'") if $layers{$layer}++;
    }
    elsif ($command eq 'blockdev-snapshot') {
        my ($layer) = $line =~ /"overlay":"([^"]+)"/;
        return refuse($id, "Cannot find device='$layer'") if !$layers{$layer};
        $top_layer = $layer;
    }
    elsif ($command eq 'blockdev-del') {
        my ($layer) = $line =~ /"node-name":"([^"]+)"/;
        return refuse($id, "Block device $layer is in use") if $layer eq $top_layer || !delete $layers{$layer};
    }
    elsif ($command eq 'xen-save-devices-state') {
        my ($name) = $line =~ /"filename":"([^"]+)"/;
        open(my $devices, '>', $name) or die "$name: $!";
        print $devices 'the devices of a stand-in';
        close $devices;
    }
    syswrite($operator, qq({"return":$answer,"id":$id}\n));
}

sub refuse {
    my ($id, $why) = @_;
    syswrite($operator, qq({"error":{"class":"GenericError","desc":"$why"},"id":$id}\n));
}

# The answer to one request, as envd gives it: only the key of the freeze thaws what was frozen, so that memory of another
# freeze than its manifest tells of is seen; and nobody becomes somebody else who was not frozen.
sub http {
    my ($head, $body) = @_;
    my ($key) = $body =~ /"thaw_key":"([^"]+)"/;
    my $present = unpack("P@{[KEY_BYTES]}", pack('Q', $memory + KEY_AT));
    $present =~ s/\0.*//s;
    if ($head =~ m{^POST /wrenn/freeze}) {
        return answer('409 Conflict') if $present ne '' && $present ne $key;
        remember($key);
    }
    elsif ($head =~ m{^POST /wrenn/thaw}) {
        return answer($body =~ /"identity"/ ? '400 Bad Request' : '204 No Content') if $present eq '';
        return answer('403 Forbidden') if $present ne $key;
        remember('');
    }
    elsif ($head =~ m{^POST /process\.Process/Start}) {
        # A command that has ended well: one message (StartResponse, its event an EndEvent), and the end of the stream.
        my $stream = pack('C N/a* C N/a*', 0, "\x0a\x04\x1a\x02\x10\x01", 2, '{}');
        my $length = length $stream;
        return "HTTP/1.1 200 OK\r\nContent-Type: application/connect+proto\r\nContent-Length: $length\r\n\r\n$stream";
    }
    return answer('204 No Content');
}

sub answer {
    my ($status) = @_;
    return "HTTP/1.1 $status\r\n" . ($status =~ /^204/ ? '' : "Content-Length: 0\r\n") . "\r\n";
}

sub remember {
    my ($key) = @_;
    pipe(my $from, my $to) or die "pipe: $!";
    syswrite($to, pack("a@{[KEY_BYTES]}", $key));
    syscall(SYS_READ, fileno($from), $memory + KEY_AT, KEY_BYTES) == KEY_BYTES or die "memory: $!";
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
        my ($length) = $head =~ /content-length: (\d+)/i;
        my $whole = length($head) + ($length // 0);
        last if length($connection->{received}) < $whole;
        my $request = substr($connection->{received}, 0, $whole, '');
        $answer .= http($head, substr($request, length $head));
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
