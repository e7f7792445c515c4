import 'guest-memfd';
