// frames - WebSocket frames as bytes, right or wrong, for stories that need more than a well-behaved client.
//
// SPDX-License-Identifier: Apache-2.0

/// A frame of a client. Every part can be made wrong: no mask, reserved bits, a length that is told and not kept.
export function frame(opcode, payload = '', { fin = true, rsv = 0, mask = [1, 2, 3, 4], told, wide = 0 } = {}) {
  const body = Buffer.from(payload);
  const length = told ?? body.length;
  const size = wide || (length < 126 ? 1 : length < 65536 ? 2 : 8);
  const head = Buffer.alloc(2 + (size === 1 ? 0 : size));
  head[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  head[1] = (mask ? 0x80 : 0) | (size === 1 ? length : size === 2 ? 126 : 127);
  if (size === 2) {
    head.writeUInt16BE(length, 2);
  } else if (size === 8) {
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  if (!mask) {
    return Buffer.concat([head, body]);
  }
  return Buffer.concat([head, Buffer.from(mask), body.map((byte, i) => byte ^ mask[i % 4])]);
}

/// The payload of a close frame.
export function goodbye(code, reason = '') {
  return Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason)]);
}

/// Takes the first frame off bytes of a server: {opcode, rsv, payload, used}, or undefined while it is not all there.
export function parseFrame(bytes) {
  if (bytes.length < 2) {
    return undefined;
  }
  const short = bytes[1] & 0x7f;
  const more = short === 126 ? 2 : short === 127 ? 8 : 0;
  if (bytes.length < 2 + more) {
    return undefined;
  }
  const length = more === 0 ? short : more === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  const used = 2 + more + length;
  return bytes.length < used ? undefined
    : { opcode: bytes[0] & 0x0f, rsv: (bytes[0] >> 4) & 7, masked: (bytes[1] & 0x80) !== 0,
      payload: Buffer.from(bytes.subarray(2 + more, used)), used };
}
