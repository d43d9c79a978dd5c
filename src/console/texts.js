// Every word that the page shows, once for each language. A key has the same placeholders in each;
// a text that counts has a form for each of the language's plurals.

export const TEXTS = {
  en: {
    tagline: 'Join a space and chat live.',
    name_label: 'Your name',
    name_example: 'Ana Paz',
    space_label: 'Space number',
    space_hint: 'A whole number, such as 1',
    spaces_label: 'Spaces with people in them',
    more_options: 'More options',
    user_id_label: 'User id',
    user_id_optional: 'optional, a number',
    user_id_hint: 'Left empty, this browser keeps one for you.',
    token_label: 'Access token',
    token_optional: 'only if this hub asks for one',
    join: 'Join space',
    space: 'Space {space}',
    people_count: { one: '{count} person', other: '{count} people' },
    name_missing: 'Enter a name.',
    space_invalid: 'The space number must be a whole number of at most {max}.',
    user_id_invalid: 'The user id must be a whole number of at most {max}.',

    people: 'People',
    people_here: 'People in this space: {count}',
    people_close: 'Close the people list',
    people_too_many: 'So many people are here that only their number is shown.',
    people_more: 'and {count} more',
    people_you: 'you',
    user: 'User {id}',
    user_id: 'User id {id}',
    copy_link: 'Copy link',
    copied: 'Link copied',
    copy_by_hand: 'Copy this link:',
    leave: 'Leave',
    title_space: 'Space {space} · {hub}',
    title_unread: '({count}) {title}',

    conversation: 'Conversation',
    messages: 'Messages',
    outbox: 'Messages being sent',
    quiet_title: 'It’s quiet here',
    quiet_text: 'Say hello: everyone in this space will see it.',
    older_loading: 'Loading older messages…',
    older_failed: 'Older messages could not be loaded.',
    try_again: 'Try again',
    back_to_newest: 'Back to the newest',
    new_messages: { one: '{count} new message', other: '{count} new messages' },
    show_all: 'Show all',
    show_less: 'Show less',
    today: 'Today',
    yesterday: 'Yesterday',
    joined_self: 'You joined as {name}',
    joined: '{name} joined',
    left: '{name} left',

    message: 'Message',
    write: 'Write a message',
    send: 'Send message',
    sending: 'Sending',
    accepted: 'Sent',
    stored: 'Stored',
    failed: 'Not sent',
    edit: 'Edit',
    discard: 'Discard',
    chars_left: { one: '{count} character left', other: '{count} characters left' },
    chars_over: { one: '{count} character over', other: '{count} characters over' },
    too_long_by: {
      one: 'The message is too long by {count} character.',
      other: 'The message is too long by {count} characters.',
    },
    send_again_in: 'You can send again in {count} s.',

    refused_rate_limited: 'You are sending too fast.',
    refused_content_too_long: 'The message is too long.',
    refused_message_too_big: 'The message is too long.',
    refused_body_too_large: 'The message is too long.',
    refused_content_empty: 'The message is empty.',
    refused_content_invalid: 'The message contains characters that are not allowed.',
    refused_overloaded: 'The hub is very busy. Try again in a moment.',
    refused_store_unavailable: 'The hub can’t store messages right now. Try again in a moment.',
    refused_draining: 'The hub is restarting. Try again in a moment.',
    refused_unknown_user: 'The hub doesn’t know your user id.',
    refused_unknown_space: 'This space doesn’t exist.',
    refused_store_refused: 'The message could not be stored.',
    refused_too_many_pending: 'Too many messages are waiting for the connection.',
    refused_unknown_outcome: 'The connection was lost before the hub answered. '
      + 'Check above whether the message arrived before you send it again.',
    refused_closed: 'You are not connected.',
    refused_other: 'The hub refused the message ({code}).',

    connecting: 'Connecting…',
    open: 'Connected',
    waiting: 'Waiting to reconnect',
    closed: 'Not connected',
    retry_now: 'Retry now',
    join_again: 'Join again',
    reconnecting_in: 'Reconnecting in {count} s.',
    lost: 'The connection to the hub was lost.',
    offline: 'You are offline.',
    ended: 'The hub ended the connection.',
    waits_restart: 'The hub is restarting.',
    waits_draining: 'The hub is restarting.',
    waits_overloaded: 'The hub is very busy.',
    waits_internal: 'The hub had a problem.',
    waits_store_unavailable: 'The hub can’t reach its store.',
    waits_too_slow: 'Your connection could not keep up.',
    waits_pong_timeout: 'Your connection went silent.',
    waits_no_answer: 'The hub doesn’t answer.',
    waits_too_fast: 'You sent too much in a short time.',
    waits_rate_limited: 'You connected too often in a short time.',
    waits_too_many_connections: 'The hub is full at the moment.',
    waits_origin_refused: 'The hub refuses pages from {origin}. '
      + 'Whoever runs it can list that address in its setting “origins”.',
    stops_kicked: 'You were removed from this space.',
    stops_forbidden: 'You are not allowed in this space with this user id.',
    stops_unauthorized: 'This hub asks for a valid access token.',
    stops_invalid_parameter: 'The hub refused the name, user id or space number.',
  },
  es: {
    tagline: 'Entra en un espacio y chatea en vivo.',
    name_label: 'Tu nombre',
    name_example: 'Ana Paz',
    space_label: 'Número de espacio',
    space_hint: 'Un número entero, por ejemplo 1',
    spaces_label: 'Espacios con gente',
    more_options: 'Más opciones',
    user_id_label: 'Id de usuario',
    user_id_optional: 'opcional, un número',
    user_id_hint: 'Si queda vacío, este navegador guarda uno para ti.',
    token_label: 'Token de acceso',
    token_optional: 'solo si este hub lo pide',
    join: 'Entrar',
    space: 'Espacio {space}',
    people_count: {
      one: '{count} persona', many: '{count} de personas', other: '{count} personas',
    },
    name_missing: 'Escribe un nombre.',
    space_invalid: 'El número de espacio debe ser un entero de {max} como máximo.',
    user_id_invalid: 'El id de usuario debe ser un entero de {max} como máximo.',

    people: 'Personas',
    people_here: 'Personas en este espacio: {count}',
    people_close: 'Cerrar la lista de personas',
    people_too_many: 'Hay tanta gente que solo se muestra cuánta.',
    people_more: 'y {count} más',
    people_you: 'tú',
    user: 'Usuario {id}',
    user_id: 'Id de usuario {id}',
    copy_link: 'Copiar enlace',
    copied: 'Enlace copiado',
    copy_by_hand: 'Copia este enlace:',
    leave: 'Salir',
    title_space: 'Espacio {space} · {hub}',
    title_unread: '({count}) {title}',

    conversation: 'Conversación',
    messages: 'Mensajes',
    outbox: 'Mensajes en camino',
    quiet_title: 'Aquí no hay nada todavía',
    quiet_text: 'Saluda: te leerán todos los que están en este espacio.',
    older_loading: 'Cargando mensajes anteriores…',
    older_failed: 'No se pudieron cargar los mensajes anteriores.',
    try_again: 'Reintentar',
    back_to_newest: 'Volver a lo último',
    new_messages: {
      one: '{count} mensaje nuevo', many: '{count} de mensajes nuevos',
      other: '{count} mensajes nuevos',
    },
    show_all: 'Ver todo',
    show_less: 'Ver menos',
    today: 'Hoy',
    yesterday: 'Ayer',
    joined_self: 'Entraste como {name}',
    joined: '{name} entró',
    left: '{name} salió',

    message: 'Mensaje',
    write: 'Escribe un mensaje',
    send: 'Enviar mensaje',
    sending: 'Enviando',
    accepted: 'Enviado',
    stored: 'Guardado',
    failed: 'No enviado',
    edit: 'Editar',
    discard: 'Descartar',
    chars_left: {
      one: 'queda {count} carácter', many: 'quedan {count} de caracteres',
      other: 'quedan {count} caracteres',
    },
    chars_over: {
      one: 'sobra {count} carácter', many: 'sobran {count} de caracteres',
      other: 'sobran {count} caracteres',
    },
    too_long_by: {
      one: 'Al mensaje le sobra {count} carácter.',
      many: 'Al mensaje le sobran {count} de caracteres.',
      other: 'Al mensaje le sobran {count} caracteres.',
    },
    send_again_in: 'Puedes volver a enviar en {count} s.',

    refused_rate_limited: 'Estás enviando demasiado rápido.',
    refused_content_too_long: 'El mensaje es demasiado largo.',
    refused_message_too_big: 'El mensaje es demasiado largo.',
    refused_body_too_large: 'El mensaje es demasiado largo.',
    refused_content_empty: 'El mensaje está vacío.',
    refused_content_invalid: 'El mensaje contiene caracteres no permitidos.',
    refused_overloaded: 'El hub está saturado. Inténtalo de nuevo en un momento.',
    refused_store_unavailable: 'El hub no puede guardar mensajes ahora. '
      + 'Inténtalo de nuevo en un momento.',
    refused_draining: 'El hub se está reiniciando. Inténtalo de nuevo en un momento.',
    refused_unknown_user: 'El hub no conoce tu id de usuario.',
    refused_unknown_space: 'Este espacio no existe.',
    refused_store_refused: 'El mensaje no se pudo guardar.',
    refused_too_many_pending: 'Hay demasiados mensajes esperando la conexión.',
    refused_unknown_outcome: 'La conexión se perdió antes de que el hub respondiera. '
      + 'Antes de enviar el mensaje de nuevo, mira arriba si llegó.',
    refused_closed: 'No hay conexión.',
    refused_other: 'El hub rechazó el mensaje ({code}).',

    connecting: 'Conectando…',
    open: 'Conectado',
    waiting: 'Esperando para reconectar',
    closed: 'Sin conexión',
    retry_now: 'Reintentar ya',
    join_again: 'Volver a entrar',
    reconnecting_in: 'Se reconecta en {count} s.',
    lost: 'Se perdió la conexión con el hub.',
    offline: 'No tienes conexión a internet.',
    ended: 'El hub cerró la conexión.',
    waits_restart: 'El hub se está reiniciando.',
    waits_draining: 'El hub se está reiniciando.',
    waits_overloaded: 'El hub está saturado.',
    waits_internal: 'El hub tuvo un problema.',
    waits_store_unavailable: 'El hub no llega a su base de datos.',
    waits_too_slow: 'Tu conexión no alcanzó a recibir todo.',
    waits_pong_timeout: 'Tu conexión quedó en silencio.',
    waits_no_answer: 'El hub no responde.',
    waits_too_fast: 'Enviaste demasiado en poco tiempo.',
    waits_rate_limited: 'Te conectaste demasiadas veces en poco tiempo.',
    waits_too_many_connections: 'El hub está lleno en este momento.',
    waits_origin_refused: 'El hub rechaza las páginas de {origin}. '
      + 'Quien lo administra puede agregar esa dirección en su ajuste «origins».',
    stops_kicked: 'Te sacaron de este espacio.',
    stops_forbidden: 'No puedes estar en este espacio con este id de usuario.',
    stops_unauthorized: 'Este hub pide un token de acceso válido.',
    stops_invalid_parameter: 'El hub rechazó el nombre, el id de usuario o el número de espacio.',
  },
};

/** The first language that both the person and the page know, with the person's own variant. */
export function choose(wanted) {
  const locale = wanted.find((tag) => tag.split('-')[0].toLowerCase() in TEXTS) ?? 'en';
  return { language: locale.split('-')[0].toLowerCase(), locale };
}

export const { language, locale } = choose(globalThis.navigator?.languages ?? []);
const plurals = new Intl.PluralRules(locale);
const numbers = new Intl.NumberFormat(locale);

/** Whether there is a text of this key. */
export const has = (key) => key in TEXTS[language];

/** A number as it is written here. */
export const number = (value) => numbers.format(value);

/** A text; of the values, `count` also chooses the plural. No name can turn the rest around. */
export function text(key, values = {}) {
  return pieces(key, values).map((piece) => (
    typeof piece === 'string' ? piece : isolated(piece.value))).join('');
}

const isolated = (value) => (/^[ -~]*$/.test(value) ? value : `\u2068${value}\u2069`);

/** A text as a list of nodes, in which each value stands isolated. */
export function nodes(key, values = {}) {
  return pieces(key, values).map((piece) => {
    if (typeof piece === 'string') return piece;
    const node = document.createElement('bdi');
    node.append(piece.value);
    return node;
  });
}

function pieces(key, values) {
  const entry = TEXTS[language][key];
  const forms = typeof entry === 'string' ? { other: entry } : entry;
  const form = forms[plurals.select(values.count ?? 0)] ?? forms.other;
  return form.split(/(\{\w+\})/).filter(Boolean).map((piece) => {
    const name = /^\{(\w+)\}$/.exec(piece)?.[1];
    if (!name) return piece;
    const value = values[name];
    return typeof value === 'number' ? number(value) : { value };
  });
}

/** Puts the texts where the page's markup asks for them. */
export function fill(root) {
  document.documentElement.lang = locale;
  const places = {
    text: (node, words) => { node.textContent = words; },
    label: (node, words) => node.setAttribute('aria-label', words),
    placeholder: (node, words) => node.setAttribute('placeholder', words),
    title: (node, words) => node.setAttribute('title', words),
  };
  for (const [place, put] of Object.entries(places)) {
    for (const node of root.querySelectorAll(`[data-${place}]`)) {
      put(node, text(node.dataset[place]));
    }
  }
}
